"""What a store holds, and how to make it smaller, seen from outside a run."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct

from pipeline.score_store import compaction
from pipeline.score_store.last_used import read_last_used
from pipeline.score_store.listing import iter_segments, read_listed
from pipeline.storage.location import Location

_LATEST_US = 253_402_300_800 * 1_000_000
"""The end of the year 9999."""


class StoreInfo(Struct, frozen=True):
    """What a store holds; an answer stored twice counts twice until compaction drops one."""

    requests: int
    documents: int
    size_bytes: int
    segments: int
    oldest: datetime | None
    newest: datetime | None
    last_used: datetime | None


def info(folder: Location) -> StoreInfo:
    """Return what the store holds.

    Raises:
        OutputFailed: if the store exists and cannot be read.
    """
    segments = read_listed(folder, lambda: list(iter_segments(folder)))
    batches = [facts for segment in segments for facts in segment.batches]
    _, used_at_us = read_last_used(folder)
    return StoreInfo(
        requests=sum(facts.num_requests for facts in batches),
        documents=sum(facts.documents for facts in batches),
        size_bytes=sum(segment.size_bytes for segment in segments),
        segments=len(segments),
        oldest=_moment(min((facts.oldest_us for facts in batches), default=None)),
        newest=_moment(max((facts.newest_us for facts in batches), default=None)),
        last_used=_moment(max(used_at_us.tolist(), default=None)),
    )


def prune(
    folder: Location,
    unused_for_days: float,
    clock: Callable[[], float] = time.time,
    *,
    dry_run: bool = False,
) -> compaction.Pruned:
    """Remove the answers that were neither saved nor used in the last days; see `compaction`.

    Raises:
        OutputFailed: if the store cannot be read or written; nothing is lost.
    """
    return compaction.prune(folder, unused_for_days, clock, dry_run=dry_run)


def is_store(folder: Location) -> bool:
    """Return whether a folder is a score store, be it an empty one.

    Raises:
        OutputFailed: if it cannot be listed.
    """
    names = [info.base_name for info in folder.children()]
    return folder.is_folder() and (not names or any(name.startswith("segment-") for name in names))


def _moment(microseconds: int | None) -> datetime | None:
    """Return a time; None if there is none, or if a flipped bit made it impossible."""
    if microseconds is None or not 0 <= microseconds < _LATEST_US:
        return None
    return datetime.fromtimestamp(microseconds / 1e6, UTC)
