"""Make segments from the rows of others, and replace those.

New segments are published whole before a note replaces the old ones (see `replaced`). So a crash at
any step leaves every answer in the store, at worst twice.
"""

from collections.abc import Callable, Container, Iterator

import numpy as np
import pyarrow as pa
from msgspec import Struct, field

from pipeline.core.arrays import BoolArray
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.replaced import note_replaced
from pipeline.score_store.rows import KEY_WORDS, Rows, Saved
from pipeline.score_store.segments import (
    Message,
    Segment,
    SegmentBuilder,
    new_name,
    read_batches,
)
from pipeline.storage.location import Location


class SegmentTarget(Struct):
    """Collects batches into larger ones, and these into segments, which it publishes whole.

    Attributes:
        folder: The store.
        clock: Seconds since 1970.
        limits: How large batches and segments are.
        published: The names of the segments so far.
    """

    folder: Location
    clock: Callable[[], float]
    limits: StoreLimits
    content: bytearray = field(default_factory=bytearray)
    builder: SegmentBuilder = field(default_factory=SegmentBuilder)
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    waiting_bytes: int = 0
    published: list[str] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch; it may be published later."""
        if batch.num_rows:
            self.waiting.append(batch)
            self.waiting_bytes += batch.nbytes
        if self.waiting_bytes >= self.limits.folded_bytes:
            self._write_waiting()
        if len(self.content) >= self.limits.full_bytes:
            self.publish()

    def publish(self) -> None:
        """Publish the batches taken so far."""
        self._write_waiting()
        if self.content:
            self.content += self.builder.end()
            name = new_name(self.clock())
            self.folder.child(name).publish(bytes(self.content))
            self.published.append(name)
            self.content, self.builder = bytearray(), SegmentBuilder()

    def _write_waiting(self) -> None:
        if not self.waiting:
            return
        if not self.content:
            self.content += self.builder.start()
        message = Message.of(_joined(self.waiting))
        self.builder.add(message)
        self.content += message.content
        self.waiting, self.waiting_bytes = [], 0


def replace_segments(
    segments: list[Segment],
    target: SegmentTarget,
    kept: Callable[[Rows], BoolArray],
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Publish segments with the kept rows of the old ones, which are then no longer listed.

    Of an answer that is stored several times the one that was saved first is kept.

    Args:
        segments: The old ones.
        target: Publishes the new ones.
        kept: Returns which rows of a batch to keep.
        stopped: Asked often whether to end early; then nothing is replaced.

    Returns:
        The number of segments replaced.
    """
    unwritten = _first_saved(segments, kept)
    for segment in segments:
        for rows in iter_rows(segment):
            if stopped():
                return 0
            mask = kept(rows)
            for row in _repeated_rows(rows, unwritten):
                mask[row] &= unwritten[rows.key(row)] == rows.saved(row)
                if mask[row]:
                    unwritten[rows.key(row)] = None
            target.add(rows.batch.filter(pa.array(mask)))
    target.publish()
    note_replaced(target.folder, [segment.name for segment in segments], target.clock())
    return len(segments)


def _first_saved(
    segments: list[Segment], kept: Callable[[Rows], BoolArray]
) -> dict[bytes, Saved | None]:
    """Return which answer to keep, for each key that occurs more than once; there are few."""
    keys = (facts.keys for segment in segments for facts in segment.batches)
    first: dict[bytes, Saved | None] = dict.fromkeys(_repeated(b"".join(keys)))
    for segment in segments if first else ():
        for rows in iter_rows(segment):
            places = _repeated_rows(rows, first)
            mask = kept(rows) if places else ()
            for row in places:
                key, saved = rows.key(row), rows.saved(row)
                if mask[row]:
                    first[key] = min(first[key] or saved, saved)
    return first


def _repeated_rows(rows: Rows, repeated_keys: Container[bytes]) -> list[int]:
    if not repeated_keys:
        return []
    return [row for row in range(rows.batch.num_rows) if rows.key(row) in repeated_keys]


def iter_rows(segment: Segment) -> Iterator[Rows]:
    """Yield the batches of a segment that can be read."""
    places = [(facts.offset, facts.size) for facts in segment.batches]
    for rows in read_batches(segment.location, places):
        if rows is not None:
            yield rows


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    (joined,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return joined


def _repeated(keys: bytes) -> set[bytes]:
    """Return the keys that occur more than once; keys are given one after the other."""
    words = np.frombuffer(keys, "<u8").reshape(-1, KEY_WORDS)
    words = words[np.lexsort(words.T)]
    repeats = (words[1:] == words[:-1]).all(axis=1)
    return {key.tobytes() for key in words[1:][repeats]}
