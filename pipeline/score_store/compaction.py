"""Folding small segments into full ones, and leaving out what nobody needs.

New segments are published whole before the old ones are removed, so a crash at any step leaves
every answer in the store, at worst twice, and the next compaction drops the second copy. Only
segments that no run writes any more are touched: closed ones, and those of dead runs that nobody
has touched for a day (a living run closes its segment after an hour). Since a machine's clock may
jump, that day is also proved: a local file must be unlocked, and the store's own clock is asked.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from msgspec import Struct, field

from pipeline.core.arrays import BoolArray
from pipeline.core.sorted_runs import SortedRuns
from pipeline.score_store.last_used import fold_uses, read_uses
from pipeline.score_store.rows import Rows
from pipeline.score_store.segments import (
    FULL_BYTES,
    Message,
    Segment,
    SegmentBuilder,
    iter_segments,
    new_name,
    read_batches,
)
from pipeline.storage.location import Location

ABANDONED_AFTER_S = 24 * 3_600.0
"""An unclosed segment that nobody has touched for so long has no writer."""

BATCH_BYTES = 64 * 1024
"""Size of a folded batch: what one look-up reads at least."""

_DAY_US = 24 * 3_600 * 1_000_000


def compact(
    folder: Location, clock: Callable[[], float], stopped: Callable[[], bool] = lambda: False
) -> int:
    """Fold the small segments that nobody writes any more; the number of segments removed.

    It looks often whether it has been `stopped`; then it removes nothing.

    Raises:
        OutputFailed: if the store cannot be read or written; nothing is lost.
    """
    now = clock()
    folder.remove_unfinished(before=datetime.fromtimestamp(now - ABANDONED_AFTER_S, UTC))
    fold_uses(folder, now)
    small = [s for s in _finished(folder, now) if not s.closed or 2 * s.size_bytes < FULL_BYTES]
    if len(small) < 2 and all(segment.closed for segment in small):
        return 0
    return _replace(folder, small, clock, lambda rows: rows.verified(), stopped)


def prune(folder: Location, unused_for_days: float, clock: Callable[[], float]) -> int:
    """Drop the answers that were neither saved nor used in the last days; how many were dropped.

    Raises:
        OutputFailed: if the store cannot be read or written; nothing is lost.
    """
    now = clock()
    since_us = int(now * 1e6 - unused_for_days * _DAY_US)
    prefixes, used_at_us = read_uses(folder)
    used = prefixes[used_at_us >= since_us]
    dropped = 0

    def needed(rows: Rows) -> BoolArray:
        recent = rows.batch.column("saved_at").view(pa.int64()).to_numpy() >= since_us
        kept: BoolArray = recent | np.isin(rows.prefixes, used)
        return kept

    for segment in _finished(folder, now):
        if segment.batches and min(facts.oldest_us for facts in segment.batches) >= since_us:
            continue
        unneeded = sum(int((~needed(rows)).sum()) for rows in _iter_rows(segment))
        if unneeded:
            _replace(folder, [segment], clock, lambda rows: needed(rows) & rows.verified())
            dropped += unneeded
    fold_uses(folder, now, since_us=since_us)
    return dropped


def _finished(folder: Location, now: float) -> Iterator[Segment]:
    for segment in iter_segments(folder):
        modified = segment.modified.timestamp() if segment.modified else now
        if segment.closed or (now - modified > ABANDONED_AFTER_S and _has_no_writer(segment)):
            yield segment


def _has_no_writer(segment: Segment) -> bool:
    """Whether an old segment is old by more than this machine's clock."""
    location, modified = segment.location, segment.modified
    if not location.is_local:
        age = location.now() - modified if modified is not None else timedelta()
        return age.total_seconds() > ABANDONED_AFTER_S
    try:
        file = os.open(location.path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks: the day alone must do
    finally:
        os.close(file)
    return True


def _replace(
    folder: Location,
    segments: list[Segment],
    clock: Callable[[], float],
    kept: Callable[[Rows], BoolArray],
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Publish segments that hold the kept rows of the old ones, then remove the old ones."""
    target = _Target(folder, clock)
    seen = SortedRuns()
    for segment in segments:
        for rows in _iter_rows(segment):
            if stopped():
                return 0
            mask = kept(rows)
            places = np.flatnonzero(mask)
            mask[places[seen.add_and_mark_repeats(rows.prefixes[places])]] = False
            target.add(rows.batch.filter(pa.array(mask)))
    target.publish()
    for segment in segments:
        segment.location.remove()
    return len(segments)


def _iter_rows(segment: Segment) -> Iterator[Rows]:
    places = [(facts.offset, facts.size) for facts in segment.batches]
    try:
        for rows in read_batches(segment.location, places):
            if rows is not None:
                yield rows
    except FileNotFoundError:
        return  # another run has folded it meanwhile


class _Target(Struct):
    """Collects batches into larger ones, and these into segments, which it publishes whole."""

    folder: Location
    clock: Callable[[], float]
    content: bytearray = field(default_factory=bytearray)
    builder: SegmentBuilder = field(default_factory=SegmentBuilder)
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    waiting_bytes: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self.waiting.append(batch)
            self.waiting_bytes += batch.nbytes
        if self.waiting_bytes >= BATCH_BYTES:
            self._write_waiting()
        if len(self.content) >= FULL_BYTES:
            self.publish()

    def publish(self) -> None:
        self._write_waiting()
        if self.content:
            self.content += self.builder.end()
            self.folder.child(new_name(self.clock())).publish(bytes(self.content))
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


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    (joined,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return joined
