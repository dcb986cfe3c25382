"""The work of one shard: which parts are its own, and which are the others'."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from msgspec import Struct

from pipeline.core.events import log_event
from pipeline.core.shard import Shard
from pipeline.output.part_borders import PartBorders
from pipeline.output.part_info import PartInfo
from pipeline.output.run_records import RunRecord
from pipeline.output.shard_plan import (
    PlannedPart,
    ShardPlan,
    read_shard_plan,
    write_shard_plan,
)
from pipeline.source.source import Source
from pipeline.storage.location import Location

log = logging.getLogger(__name__)


class ShardWork(Struct, frozen=True, eq=False):
    """The share of one shard.

    Attributes:
        mine: The numbers of its parts.
        others: The parts of the other shards, as they will be.
        num_groups: Queries of its own parts.
        num_rows: Their input rows.
        writes_empty: The input has no rows, and this shard writes the only part.
    """

    mine: range
    others: Sequence[PartInfo]
    num_groups: int
    num_rows: int
    writes_empty: bool


def share_out(
    output: Location,
    source: Source,
    shard: Shard,
    *,
    fingerprint: str,
    groups_per_part: int,
    check: Callable[[], None],
) -> ShardWork:
    """Return the work of a shard; read the whole input once if no other shard has done so.

    To be called by one shard at a time.

    Args:
        output: Where the shards agree.
        source: The input.
        shard: Which share.
        fingerprint: Of settings and input.
        groups_per_part: Most queries of a part.
        check: Called often; what it raises ends the work.

    Raises:
        InputError: if the input cannot be understood.
        OutputFailed: if what the shards agreed on cannot be read or written.
    """
    plan = read_shard_plan(output, fingerprint)
    if plan is None or plan.count != shard.count:
        parts = _find_parts(source, groups_per_part, check) if plan is None else plan.parts
        plan = ShardPlan(fingerprint=fingerprint, count=shard.count, parts=parts)
        write_shard_plan(output, plan)
    mine = plan.range_of(shard)
    own = plan.parts[mine.start : mine.stop]
    return ShardWork(
        mine=mine,
        others=plan.infos(index for index in range(len(plan.parts)) if index not in mine),
        num_groups=sum(part.num_groups for part in own),
        num_rows=sum(part.num_rows for part in own),
        writes_empty=not plan.parts and shard.index == 1,
    )


def earlier_for_shard(runs: Sequence[RunRecord], shard: Shard, limit_usd: float | None) -> float:
    """Return the amount that a shard must count as spent, so that all together keep the limit.

    Each may spend its part of what other runs (whole ones, or of another number of shards) left.

    Args:
        runs: The records of all runs on the output.
        shard: Which share.
        limit_usd: What may be spent on the output; None for any amount.
    """
    siblings = f"/{shard.count}"
    own = sum(run.spent_usd for run in runs if run.shard == str(shard))
    of_others = sum(
        run.spent_usd for run in runs if run.shard is None or not run.shard.endswith(siblings)
    )
    if limit_usd is None:
        return own + of_others
    allowed = max(limit_usd - of_others, 0.0) / shard.count
    return limit_usd - allowed + own


def _find_parts(
    source: Source, groups_per_part: int, check: Callable[[], None]
) -> list[PlannedPart]:
    """Return all parts of an input, of which nothing is kept; the ids are enough for most."""
    began = time.monotonic()
    borders, parts = PartBorders(groups_per_part), list[PlannedPart]()
    first_group = first_row = stop_row = num_groups = 0
    ends = True
    for num_rows, num_candidates, num_bytes in _iter_sizes(source, check):
        _, ends = borders.place_sizes(num_groups, num_candidates, num_bytes)
        num_groups, stop_row = num_groups + 1, stop_row + num_rows
        if ends:
            parts.append(
                PlannedPart(first_group, num_groups - first_group, first_row, stop_row - first_row)
            )
            first_group, first_row = num_groups, stop_row
    if not ends:
        parts.append(
            PlannedPart(first_group, num_groups - first_group, first_row, stop_row - first_row)
        )
    seconds = round(time.monotonic() - began, 1)
    log_event(log, logging.INFO, "shards.planned", parts=len(parts), seconds=seconds)
    return parts


def _iter_sizes(source: Source, check: Callable[[], None]) -> Iterator[tuple[int, int, int]]:
    """Yield rows, candidates and passed-through bytes of each group, having checked the ids."""
    source.check_ids()
    check()
    if not source.ids_tell_sizes:
        for batch in source.read().iter_batches():
            check()
            rows, candidates = np.diff(batch.row_offsets), np.diff(batch.offsets)
            yield from zip(
                rows.tolist(), candidates.tolist(), batch.passthrough_bytes.tolist(), strict=True
            )
        return
    before = 0
    for starts in source.iter_first_rows():
        check()
        for start in starts.tolist():
            if start:
                yield start - before, start - before, 0
            before = start
    if source.num_rows:
        yield source.num_rows - before, source.num_rows - before, 0
