"""Segments: the store's files, and how one is read whatever happened to it.

A segment is an Arrow IPC stream of record batches, written by one run and never changed once it is
closed. A closed segment ends in its contents (where each batch lies and which keys it has) and a
trailer that says where they begin, so opening it reads a few bytes per key. A segment without a
sound trailer (its run goes on, or died, or bits flipped) is walked from the start: what cannot be
read is stepped over, a torn tail ends it.
"""

import struct
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise

import pyarrow as pa
import xxhash
from msgspec import Struct, field
from msgspec.structs import replace

from pipeline.score_store.key_index import Place
from pipeline.score_store.messages import MARK, read_batch, walk
from pipeline.score_store.rows import SCHEMA, Rows
from pipeline.score_store.segment_index import BatchFacts, Contents
from pipeline.storage.files import FileInfo
from pipeline.storage.location import Location

FULL_BYTES = 8 * 1024 * 1024
"""A segment of this size is closed and the next one begun; whole ones fit in memory."""

_OPENED_AT_ONCE = 16
"""On an object store opening is waiting: a few round trips for each segment."""

SUFFIX = ".arrows"
_END = MARK + b"\x00\x00\x00\x00"
_TRAILER = struct.Struct("<QQ8s")  # bytes of the contents, their checksum, magic
_MAGIC = b"rerankSG"


class Segment(Struct, frozen=True):
    """A segment's file and contents.

    Attributes:
        closed: Its run has finished it.
        damaged: Its contents had to be searched for, and not because its run died.
    """

    location: Location
    name: str
    size_bytes: int
    modified: datetime | None
    closed: bool
    batches: Contents
    damaged: bool = False

    def place(self, facts: BatchFacts) -> Place:
        """Where a batch of this segment lies."""
        return Place(self.name, facts.offset, facts.size)


class Message(Struct, frozen=True):
    """A record batch as it stands in a segment, wherever that will be.

    Attributes:
        content: Its bytes.
        facts: What is in it; their offset means nothing yet.
    """

    content: bytes
    facts: BatchFacts

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> "Message":
        """The message of a batch."""
        content = batch.serialize().to_pybytes()
        return cls(content, BatchFacts.of(0, len(content), batch))


class SegmentBuilder(Struct):
    """Tells which bytes a segment has, one after the other; the caller puts them there."""

    size_bytes: int = 0
    batches: Contents = field(default_factory=Contents)

    def start(self) -> bytes:
        """The first bytes of a segment."""
        return self._taken(SCHEMA.serialize().to_pybytes())

    def add(self, message: Message) -> BatchFacts:
        """Take a message for the next bytes; its facts with its place."""
        facts = replace(message.facts, offset=self.size_bytes)
        self._taken(message.content)
        self.batches.add(facts)
        return facts

    def end(self) -> bytes:
        """The last bytes: end of stream, contents, trailer."""
        contents = self.batches.to_bytes()
        trailer = _TRAILER.pack(contents.size, xxhash.xxh3_64_intdigest(contents), _MAGIC)
        return self._taken(b"".join([_END, contents, trailer]))

    def _taken(self, content: bytes) -> bytes:
        self.size_bytes += len(content)
        return content


def new_name(now: float) -> str:
    """A name that no other run gives; names sort by time."""
    moment = datetime.fromtimestamp(now, UTC)
    return f"segment-{moment:%Y%m%dT%H%M%S}-{moment.microsecond:06}-{uuid.uuid4().hex[:8]}{SUFFIX}"


def list_segments(folder: Location) -> list[FileInfo]:
    """The store's segments, oldest first; empty where there is no folder."""
    return [info for info in folder.children() if is_segment(info.base_name)]


def iter_segments(folder: Location) -> Iterator[Segment]:
    """Yield the store's segments, oldest first; several are opened at once.

    Raises:
        OutputFailed: if one is there and cannot be read.
    """
    with ThreadPoolExecutor(1 if folder.is_local else _OPENED_AT_ONCE) as pool:
        opened = pool.map(lambda info: open_segment(folder, info), list_segments(folder))
        yield from (segment for segment in opened if segment is not None)


def is_segment(name: str) -> bool:
    """Whether a file of this name is a segment."""
    return name.startswith("segment-") and name.endswith(SUFFIX)


def open_segment(folder: Location, info: FileInfo) -> Segment | None:
    """The segment and its contents; None if it is gone.

    Raises:
        OutputFailed: if it is there and cannot be read.
    """
    location = folder.child(info.base_name)
    size_bytes = info.size_bytes or 0
    facts = (location, info.base_name, size_bytes, info.modified)
    batches = _read_contents(location, size_bytes)
    if batches is not None:
        return Segment(*facts, closed=True, batches=batches)
    content = location.read()
    if content is None:
        return None
    walked = Contents()
    for offset, size, batch in walk(content):
        walked.add(BatchFacts.of(offset, size, batch))
    closed = _trailer(content) is not None
    has_gap = any(one.offset + one.size != two.offset for one, two in pairwise(walked))
    return Segment(*facts, closed=closed, batches=walked, damaged=closed or has_gap)


def read_batches(location: Location, places: list[tuple[int, int]]) -> Iterator[Rows | None]:
    """Yield the batch at each (offset, size); None where none can be read any more.

    Raises:
        FileNotFoundError: if the segment is gone, since another run has compacted it.
        OutputFailed: if it is there and cannot be read.
    """
    for content in location.read_ranges(places):
        batch = read_batch(pa.py_buffer(content))
        yield None if batch is None else Rows(batch[0])


def _read_contents(location: Location, size_bytes: int) -> Contents | None:
    """The contents that a closed segment ends in; None where they are missing or unsound."""
    if size_bytes < _TRAILER.size:
        return None
    try:
        (tail,) = location.read_ranges([(max(0, size_bytes - 65_536), min(65_536, size_bytes))])
        trailer = _trailer(tail)
        if trailer is None:
            return None
        length, checksum = trailer
        start = size_bytes - _TRAILER.size - length
        if start < 0:
            return None
        content = tail[-_TRAILER.size - length : -_TRAILER.size]
        if len(content) < length:
            (content,) = location.read_ranges([(start, length)])
    except FileNotFoundError:
        return None
    if xxhash.xxh3_64_intdigest(content) != checksum:
        return None
    return Contents.from_bytes(content)


def _trailer(tail: bytes) -> tuple[int, int] | None:
    if len(tail) < _TRAILER.size:
        return None
    length, checksum, magic = _TRAILER.unpack(tail[-_TRAILER.size :])
    return (length, checksum) if magic == _MAGIC else None
