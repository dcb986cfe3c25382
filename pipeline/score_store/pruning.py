"""Drop answers that are no longer used."""

from collections.abc import Callable

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import BoolArray
from pipeline.score_store.compaction import iter_finished
from pipeline.score_store.last_used import fold_files, read_last_used
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.listing import read_listed
from pipeline.score_store.replaced import delete_replaced
from pipeline.score_store.replacing import SegmentTarget, iter_rows, replace_segments
from pipeline.score_store.rows import Rows
from pipeline.storage.leftovers import remove_leftovers
from pipeline.storage.location import Location

_DAY_US = 24 * 3_600 * 1_000_000


class Pruned(Struct):
    """Numbers of answers that `prune` removes and keeps.

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

    Replaced segments are deleted at once; runs that use the store meanwhile list it again.

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
        for segment in iter_finished(folder, now, StoreLimits()):
            if segment.name in done:
                continue
            total = sum(facts.num_requests for facts in segment.batches)
            unneeded = 0
            if min((facts.oldest_us for facts in segment.batches), default=0) < since_us:
                unneeded = sum(int((~needed(rows)).sum()) for rows in iter_rows(segment))
            if unneeded and not dry_run:
                target = SegmentTarget(folder, clock, StoreLimits())
                replace_segments([segment], target, lambda rows: needed(rows) & rows.verified())
                done.update(target.published)
            done.add(segment.name)
            pruned.removed += unneeded
            pruned.kept += total - unneeded
            pruned.removed_bytes += segment.size_bytes * unneeded // max(total, 1)

    read_listed(folder, prune_segments)
    if not dry_run:
        remove_leftovers(folder, now, older_than_s=StoreLimits().abandoned_after_s)
        delete_replaced(folder, now, older_than_s=0)
        fold_files(folder, now, since_us=since_us)
    return pruned
