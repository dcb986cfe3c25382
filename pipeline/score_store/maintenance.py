"""Show what a store holds, and make it smaller, from outside a run."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pipeline.score_store import pruning
from pipeline.score_store.last_used import read_last_used
from pipeline.score_store.listing import iter_segments, read_listed
from pipeline.storage.location import Location

_OF_A_STORE: Final = re.compile(r"segment-.*|(used|replaced)-\d{8}T\d{6}-[0-9a-f]{8}\.\w+")
"""Names of a store's files; pruning that was interrupted may leave no segment."""
_LATEST_US = 253_402_300_800 * 1_000_000
"""The end of the year 9999."""


class StoreInfo(Struct, frozen=True):
    """The contents of a store; an answer stored twice counts twice until compaction drops one."""

    requests: int
    documents: int
    size_bytes: int
    segments: int
    oldest: datetime | None
    newest: datetime | None
    last_used: datetime | None = None


def info(folder: Location) -> StoreInfo:
    """Return what the store holds.

    Raises:
        OutputFailed: if the store exists and cannot be read.
    """
    totals = read_listed(folder, lambda: _totals(folder))
    _, used_at_us = read_last_used(folder)
    return replace(totals, last_used=_moment(max(used_at_us.tolist(), default=None)))


def prune(
    folder: Location,
    unused_for_days: float,
    clock: Callable[[], float] = time.time,
    *,
    dry_run: bool = False,
) -> pruning.Pruned:
    """Remove the answers that were neither saved nor used in the last days; see `pruning`.

    Raises:
        OutputFailed: if the store cannot be read or written; nothing is lost.
    """
    return pruning.prune(folder, unused_for_days, clock, dry_run=dry_run)


def is_store(folder: Location) -> bool:
    """Return whether a folder is a score store, be it an empty one.

    Raises:
        OutputFailed: if it cannot be listed.
    """
    names = [info.base_name for info in folder.children()]
    return folder.is_folder() and (not names or any(map(_OF_A_STORE.fullmatch, names)))


def _totals(folder: Location) -> StoreInfo:
    requests = documents = size_bytes = segments = 0
    times: list[int] = []  # the oldest and newest so far
    for segment in iter_segments(folder):
        segments += 1
        size_bytes += segment.size_bytes
        for facts in segment.batches:
            requests += facts.num_requests
            documents += facts.documents
            times = [min([*times, facts.oldest_us]), max([*times, facts.newest_us])]
    oldest, newest = times or (None, None)
    return StoreInfo(
        requests=requests,
        documents=documents,
        size_bytes=size_bytes,
        segments=segments,
        oldest=_moment(oldest),
        newest=_moment(newest),
    )


def _moment(microseconds: int | None) -> datetime | None:
    """Return a time; None if there is none, or if a flipped bit made it impossible."""
    if microseconds is None or not 0 <= microseconds < _LATEST_US:
        return None
    return datetime.fromtimestamp(microseconds / 1e6, UTC)
