"""Fold small segments into full ones.

Only segments without a writer are touched: closed ones, and unclosed ones of dead runs that were
not written for a day (a live run closes its segment after an hour). Since a machine's clock may
jump, that is confirmed: a local file must be unlocked, and an object must be old by the store's
clock. A crash at any step loses nothing; the next compaction drops answers that are stored twice.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from pipeline.score_store.last_used import fold_files
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.listing import iter_segments
from pipeline.score_store.replaced import delete_replaced
from pipeline.score_store.replacing import SegmentTarget, replace_segments
from pipeline.score_store.segments import Segment
from pipeline.storage.leftovers import remove_leftovers
from pipeline.storage.location import Location


def compact(
    folder: Location,
    clock: Callable[[], float],
    stopped: Callable[[], bool] = lambda: False,
    limits: StoreLimits | None = None,
) -> int:
    """Fold the small segments that have no writer; return the number of segments replaced.

    Files left by killed runs, and segments that an earlier compaction has replaced, are deleted
    first, if they are old enough.

    Args:
        folder: The store.
        clock: Seconds since 1970.
        stopped: Asked often whether to end early; then nothing is replaced.
        limits: What is small, how large a folded batch is, and when to delete.

    Raises:
        OutputFailed: if the store cannot be read or written; nothing is lost.
    """
    now, limits = clock(), limits or StoreLimits()
    remove_leftovers(folder, now, older_than_s=limits.abandoned_after_s)
    fold_files(folder, now)
    delete_replaced(folder, now, older_than_s=limits.replaced_for_s)
    try:
        small = [
            segment
            for segment in iter_finished(folder, now, limits)
            if not segment.closed or 2 * segment.size_bytes < limits.full_bytes
        ]
        if len(small) < 2 and all(segment.closed for segment in small):
            return 0
        target = SegmentTarget(folder, clock, limits)
        return replace_segments(small, target, lambda rows: rows.verified(), stopped)
    except FileNotFoundError:  # another run folds and deletes at the same time
        return 0


def iter_finished(folder: Location, now: float, limits: StoreLimits) -> Iterator[Segment]:
    """Yield the segments that have no writer."""
    abandoned_after = timedelta(seconds=limits.abandoned_after_s)
    for segment in iter_segments(folder):
        if segment.closed or _is_abandoned(segment, now, abandoned_after):
            yield segment


def _is_abandoned(segment: Segment, now: float, after: timedelta) -> bool:
    """Return whether a segment that was not closed has certainly no writer any more."""
    location, modified = segment.location, segment.modified
    if modified is None or datetime.fromtimestamp(now, UTC) - modified <= after:
        return False
    if not location.is_local:
        return location.now() - modified > after
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
