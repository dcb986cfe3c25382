"""Folding small segments into full ones, and leaving out answers that are no longer used.

New segments are published whole before a note replaces the old ones, which are deleted some minutes
later (see `replaced`). So a crash at any step leaves every answer in the store, at worst twice, and
the next compaction drops the second copy. Only segments without a writer are touched: closed ones,
and unclosed ones of dead runs that were not written for a day (a living run closes its segment
after an hour). Since a machine's clock may jump, that is confirmed: a local file must be unlocked,
and an object must be old by the store's clock.
"""

import fcntl
import os
from collections.abc import Callable, Container, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from msgspec import Struct, field

from pipeline.core.arrays import BoolArray
from pipeline.score_store.last_used import fold_files, read_last_used
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.listing import iter_segments, read_listed
from pipeline.score_store.replaced import delete_replaced, note_replaced
from pipeline.score_store.rows import Rows, Saved, repeated
from pipeline.score_store.segments import (
    Message,
    Segment,
    SegmentBuilder,
    new_name,
    read_batches,
)
from pipeline.storage.location import Location

_DAY_US = 24 * 3_600 * 1_000_000


def compact(
    folder: Location,
    clock: Callable[[], float],
    stopped: Callable[[], bool] = lambda: False,
    limits: StoreLimits | None = None,
) -> int:
    """Fold the small segments that have no writer; return the number of segments replaced.

    Segments that an earlier compaction has replaced are deleted first, if that is long enough ago.

    Args:
        folder: The store.
        clock: Seconds since 1970.
        stopped: Asked often whether to end early; then nothing is replaced.
        limits: What is small, how large a folded batch is, and when to delete.

    Raises:
        OutputFailed: if the store cannot be read or written; nothing is lost.
    """
    now, limits = clock(), limits or StoreLimits()
    folder.remove_unfinished(before=datetime.fromtimestamp(now - limits.abandoned_after_s, UTC))
    fold_files(folder, now)
    delete_replaced(folder, now, older_than_s=limits.replaced_for_s)
    try:
        small = [
            segment
            for segment in _finished(folder, now, limits)
            if not segment.closed or 2 * segment.size_bytes < limits.full_bytes
        ]
        if len(small) < 2 and all(segment.closed for segment in small):
            return 0
        target = _Target(folder, clock, limits)
        return _replace(small, target, lambda rows: rows.verified(), stopped)
    except FileNotFoundError:  # another run folds and deletes at the same time
        return 0


class Pruned(Struct):
    """What `prune` removes, and what it keeps.

    Attributes:
        removed: Answers that are removed.
        kept: Answers that are kept; those of runs that still write are not among them.
        removed_bytes: About how many bytes of the store are removed.
    """

    removed: int = 0
    kept: int = 0
    removed_bytes: int = 0


def prune(
    folder: Location,
    unused_for_days: float,
    clock: Callable[[], float],
    *,
    dry_run: bool = False,
) -> Pruned:
    """Remove the answers that were neither saved nor used in the last days.

    What is replaced is deleted at once; runs that use the store meanwhile list it again.

    Args:
        folder: The store.
        unused_for_days: For how long an answer must not have been used.
        clock: Seconds since 1970.
        dry_run: Only count.

    Raises:
        OutputFailed: if the store cannot be read or written; nothing is lost.
    """
    now, pruned = clock(), Pruned()
    since_us = int(now * 1e6 - unused_for_days * _DAY_US)
    prefixes, used_at_us = read_last_used(folder)
    used, done = prefixes[used_at_us >= since_us], set[str]()

    def needed(rows: Rows) -> BoolArray:
        kept: BoolArray = (rows.saved_at_us >= since_us) | np.isin(rows.prefixes, used)
        return kept

    def prune_segments() -> None:
        for segment in _finished(folder, now, StoreLimits()):
            if segment.name in done:
                continue
            total = sum(facts.num_requests for facts in segment.batches)
            unneeded = 0
            if min((facts.oldest_us for facts in segment.batches), default=0) < since_us:
                unneeded = sum(int((~needed(rows)).sum()) for rows in _iter_rows(segment))
            if unneeded and not dry_run:
                target = _Target(folder, clock, StoreLimits())
                _replace([segment], target, lambda rows: needed(rows) & rows.verified())
                done.update(target.published)
            done.add(segment.name)
            pruned.removed += unneeded
            pruned.kept += total - unneeded
            pruned.removed_bytes += segment.size_bytes * unneeded // max(total, 1)

    read_listed(folder, prune_segments)
    if not dry_run:
        delete_replaced(folder, now, older_than_s=0)
        fold_files(folder, now, since_us=since_us)
    return pruned


def _finished(folder: Location, now: float, limits: StoreLimits) -> Iterator[Segment]:
    abandoned_after = timedelta(seconds=limits.abandoned_after_s)
    for segment in iter_segments(folder):
        modified = segment.modified.timestamp() if segment.modified else now
        is_old = now - modified > limits.abandoned_after_s
        if segment.closed or (is_old and _has_no_writer(segment, abandoned_after)):
            yield segment


def _has_no_writer(segment: Segment, abandoned_after: timedelta) -> bool:
    """Return whether a segment that is old by this machine's clock is certainly abandoned."""
    location, modified = segment.location, segment.modified
    if not location.is_local:
        age = location.now() - modified if modified is not None else timedelta()
        return age > abandoned_after
    try:
        file = os.open(location.path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks: its age must do
    finally:
        os.close(file)
    return True


def _replace(
    segments: list[Segment],
    target: "_Target",
    kept: Callable[[Rows], BoolArray],
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Publish segments with the kept rows of the old ones, which are then no longer listed."""
    unwritten = _first_saved(segments, kept)
    for segment in segments:
        for rows in _iter_rows(segment):
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
    first: dict[bytes, Saved | None] = dict.fromkeys(repeated(b"".join(keys)))
    for segment in segments if first else ():
        for rows in _iter_rows(segment):
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


def _iter_rows(segment: Segment) -> Iterator[Rows]:
    places = [(facts.offset, facts.size) for facts in segment.batches]
    for rows in read_batches(segment.location, places):
        if rows is not None:
            yield rows


class _Target(Struct):
    """Collects batches into larger ones, and these into segments, which it publishes whole."""

    folder: Location
    clock: Callable[[], float]
    limits: StoreLimits
    content: bytearray = field(default_factory=bytearray)
    builder: SegmentBuilder = field(default_factory=SegmentBuilder)
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    waiting_bytes: int = 0
    published: list[str] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self.waiting.append(batch)
            self.waiting_bytes += batch.nbytes
        if self.waiting_bytes >= self.limits.folded_bytes:
            self._write_waiting()
        if len(self.content) >= self.limits.full_bytes:
            self.publish()

    def publish(self) -> None:
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


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    (joined,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return joined
