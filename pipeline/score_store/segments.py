"""Segments: the store's files, and how one is read even if it is damaged.

A segment is an Arrow IPC stream of record batches, written by one run and never changed once it is
closed. A closed segment ends in its index (where each batch is and which keys it has) and a trailer
that says where the index begins, so opening it reads a few bytes per key. A segment without a valid
trailer (its run is live or died, or bits flipped) is scanned from the start: unreadable batches are
skipped, and a torn tail ends the scan.
"""

import struct
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

import pyarrow as pa
import xxhash
from msgspec import Struct, field
from msgspec.structs import replace

from pipeline.score_store.key_index import Place
from pipeline.score_store.rows import SCHEMA, Rows
from pipeline.score_store.segment_index import BatchFacts, SegmentIndex
from pipeline.storage.files import FileInfo
from pipeline.storage.location import Location

SEGMENT_PREFIX: Final = "segment-v2-"
"""Names the format: a file of another one is never read."""
SEGMENT_SUFFIX: Final = ".arrows"
_MARK = b"\xff\xff\xff\xff"
"""Begins every message of an IPC stream (Arrow columnar format 1.5, encapsulated messages)."""
_END = _MARK + b"\x00\x00\x00\x00"
_TRAILER = struct.Struct("<QQ8s")  # bytes of the index, their checksum, magic
_MAGIC = b"rerankSG"
_TAIL_BYTES = 65_536

_DAMAGE = (pa.ArrowException, OSError, EOFError, ValueError, IndexError)
"""Errors that Arrow raises for bytes that are not a valid message."""


class Segment(Struct, frozen=True):
    """A segment's file and index.

    Attributes:
        closed: Its run has finished it.
        damaged: It had to be scanned, or skipped in part, and not because its run died.
    """

    location: Location
    name: str
    size_bytes: int
    modified: datetime | None
    closed: bool
    batches: SegmentIndex
    damaged: bool = False

    def place(self, facts: BatchFacts) -> Place:
        """Return where a batch of this segment is."""
        return Place(self.name, facts.offset, facts.size)


class Message(Struct, frozen=True):
    """A record batch as it is written into a segment.

    Attributes:
        content: Its bytes.
        facts: Its entry in the index; the offset is not known yet.
    """

    content: bytes
    facts: BatchFacts

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> "Message":
        """Return the message of a batch."""
        content = batch.serialize().to_pybytes()
        return cls(content, BatchFacts.of(0, len(content), batch))


class SegmentBuilder(Struct):
    """Makes the bytes of a segment, one piece after the other; the caller writes them."""

    size_bytes: int = 0
    batches: SegmentIndex = field(default_factory=SegmentIndex)

    def start(self) -> bytes:
        """Return the first bytes of a segment."""
        return self._counted(SCHEMA.serialize().to_pybytes())

    def add(self, message: Message) -> BatchFacts:
        """Take a message as the next bytes, and return its facts with its offset."""
        facts = replace(message.facts, offset=self.size_bytes)
        self._counted(message.content)
        self.batches.add(facts)
        return facts

    def end(self) -> bytes:
        """Return the last bytes: end of stream, index, trailer; may be called again."""
        index = self.batches.to_bytes()
        trailer = _TRAILER.pack(index.size, xxhash.xxh3_64_intdigest(index), _MAGIC)
        return b"".join([_END, index, trailer])

    def _counted(self, content: bytes) -> bytes:
        self.size_bytes += len(content)
        return content


def new_name(now: float) -> str:
    """Return a name that no other run uses; names sort by time."""
    moment = datetime.fromtimestamp(now, UTC)
    unique = uuid.uuid4().hex[:8]
    return (
        f"{SEGMENT_PREFIX}{moment:%Y%m%dT%H%M%S}-{moment.microsecond:06}-{unique}{SEGMENT_SUFFIX}"
    )


def open_segment(folder: Location, info: FileInfo) -> Segment:
    """Return a segment with its index.

    Raises:
        FileNotFoundError: if it is gone.
        OutputFailed: if it exists and cannot be read.
    """
    location, size_bytes = folder.child(info.base_name), info.size_bytes or 0
    facts = (location, info.base_name, size_bytes, info.modified)
    batches = _read_index(location, size_bytes)
    if batches is not None:
        return Segment(*facts, closed=True, batches=batches)
    content = location.read()
    if content is None:
        raise FileNotFoundError(location.name)
    scanned = SegmentIndex()
    for offset, size, batch in _scan(content):
        scanned.add(BatchFacts.of(offset, size, batch))
    closed = _trailer(content) is not None
    has_gap = any(one.offset + one.size != two.offset for one, two in pairwise(scanned))
    return Segment(*facts, closed=closed, batches=scanned, damaged=closed or has_gap)


def read_batches(location: Location, places: list[tuple[int, int]]) -> Iterator[Rows | None]:
    """Yield the batch at each (offset, size); None where none can be read any more.

    Raises:
        FileNotFoundError: if the segment is gone; see `listing.read_listed`.
        OutputFailed: if it exists and cannot be read.
    """
    for content in location.read_ranges(places):
        batch = _read_batch(pa.py_buffer(content))
        yield None if batch is None else Rows(batch[0])


def _read_index(location: Location, size_bytes: int) -> SegmentIndex | None:
    """Return the index at the end of a closed segment; None if it is missing or damaged."""
    if size_bytes < _TRAILER.size:
        return None
    tail_bytes = min(_TAIL_BYTES, size_bytes)
    (tail,) = location.read_ranges([(size_bytes - tail_bytes, tail_bytes)])
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
    if xxhash.xxh3_64_intdigest(content) != checksum:
        return None
    return SegmentIndex.from_bytes(content)


def _trailer(tail: bytes) -> tuple[int, int] | None:
    if len(tail) < _TRAILER.size:
        return None
    length, checksum, magic = _TRAILER.unpack(tail[-_TRAILER.size :])
    return (length, checksum) if magic == _MAGIC else None


def _scan(content: bytes) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """Yield offset, size and batch of each message that can be read, from start to end."""
    data = pa.py_buffer(content)
    position = content.find(_MARK)
    while position >= 0:
        read = _read_batch(data[position:])
        if read is None:
            position = content.find(_MARK, position + 1)
            continue
        batch, size = read
        yield position, size, batch
        position = content.find(_MARK, position + size)


def _read_batch(data: pa.Buffer) -> tuple[pa.RecordBatch, int] | None:
    """Return the batch at the start of the bytes and its size; None if there is no valid one."""
    stream = pa.BufferReader(data)
    try:
        message: Any = pa.ipc.read_message(stream)
        if message.type != "record batch":
            return None
        batch = pa.ipc.read_record_batch(message, SCHEMA)
        batch.validate(full=True)
    except _DAMAGE:
        return None
    return batch, stream.tell()
