"""The groups of an input, read and planned a little ahead of their ranking.

A thread decodes and checks, which may wait for a disk or a network and is mostly long calls. The
rest takes some milliseconds and runs on the event loop (see `offload`); large groups, texts to be
tokenised and partial reuse take longer and run in a thread.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import IntArray
from pipeline.core.background import background
from pipeline.core.errors import RerankError
from pipeline.core.events import log_event
from pipeline.core.groups import GroupBatch, reduce_groups
from pipeline.core.heap import trim_heap
from pipeline.dataset.limits import RunLimits
from pipeline.dataset.offload import prefetch, run
from pipeline.output.part_borders import PartBorders
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.planning.reuse import PartialReuse
from pipeline.planning.single_request import plan_batch
from pipeline.source.pieces import Piece
from pipeline.source.reading import Reading
from pipeline.source.source import Source
from pipeline.tokens.measures import measure_texts

log = logging.getLogger(__name__)

SHOWN_FILES: Final = 4
"""How many of the skipped files the log names."""
GROUP_BYTES: Final = 4_096
"""Memory that a group takes besides its texts."""


def log_odd_input(source: Source) -> None:
    """Log features of an input that are no errors but may surprise a user."""
    if not source.rows_are_candidates:
        log_event(log, logging.INFO, "input.layout_found", layout=source.layout_found)
    if skipped := source.listing.skipped:
        examples = ", ".join(skipped[:SHOWN_FILES])
        log_event(log, logging.INFO, "input.files_skipped", files=len(skipped), examples=examples)
    if source.listing.num_beside:
        log_event(log, logging.INFO, "input.one_of_many", files_beside=source.listing.num_beside)
    for name, kind in source.widened.items():
        log_event(log, logging.INFO, "input.column_widened", column=name, type=str(kind))


def log_repeated_ids(num_repeated: int, duplicates: str) -> None:
    """Warn of candidates whose doc_id occurs earlier in their query, and say if they are kept.

    Args:
        num_repeated: How many there are.
        duplicates: `keep`, or `first`, as in the settings.
    """
    if num_repeated:
        fields = {"candidates": num_repeated, "duplicates": duplicates}
        log_event(log, logging.WARNING, "input.ids_repeated", **fields)


class PlannedGroup(Struct, frozen=True, eq=False):
    """A planned group and its place in the output.

    Attributes:
        plan: What is sent for it.
        size_bytes: Memory that the group takes while it is in work.
        part_index: The part that it belongs to.
        ends_part: It is the last group of this part.
    """

    plan: Plan
    size_bytes: int
    part_index: int
    ends_part: bool


class GroupReader:
    """Reads groups and plans them; to be used once.

    Args:
        reading: The input.
        planner: Plans what is sent for a group.
        borders: Which part each group belongs to.
        reuse: Finds stored answers that groups can begin with; None for exact reuse only.
        check: Checks the whole input while its beginning is read; no group is yielded before it
            has returned.
        limits: How much to plan without a pause, and outside a thread.
    """

    def __init__(
        self,
        reading: Reading,
        planner: Planner,
        borders: PartBorders,
        *,
        reuse: PartialReuse | None = None,
        check: Callable[[], Coroutine[Any, Any, None]] | None = None,
        limits: RunLimits | None = None,
    ) -> None:
        self._reading = reading
        self._planner = planner
        self._borders = borders
        self._reuse = reuse
        self._check = check or _accept_any_input
        self._limits = limits or RunLimits()

    async def iter_planned(self) -> AsyncGenerator[list[PlannedGroup]]:
        """Yield the groups in input order, some at a time.

        Raises:
            RerankError: as the source, the store and the check do.
        """
        async with aclosing(prefetch(self._reading.next_piece)) as pieces:
            piece = await self._read_first(pieces)
            while piece is not None:
                for batch in await self._make_groups(piece):
                    for part in batch.cut(self._limits.groups_at_once):
                        yield await self._plan(part)
                        await asyncio.sleep(0)
                piece = await anext(pieces, None)
        for batch in await self._make_groups(None):
            yield await self._plan(batch)

    async def _read_first(self, pieces: AsyncGenerator[Piece]) -> Piece | None:
        """Read the first piece while the whole input is checked; its own error comes first."""
        found: list[RerankError] = []

        async def check() -> None:
            try:
                await self._check()
            except RerankError as error:
                found.append(error)

        async with background(check(), name="check-input") as checking:
            piece = await anext(pieces, None)
            await checking
        if found:
            raise found[0]
        return piece

    async def _make_groups(self, piece: Piece | None) -> list[GroupBatch]:
        num_candidates = self._reading.open_candidates + (piece.num_candidates if piece else 0)
        aside = num_candidates > self._limits.max_candidates_inline
        return await run(lambda: self._reading.make_groups(piece), aside=aside)

    async def _plan(self, batch: GroupBatch) -> list[PlannedGroup]:
        takes_long = (
            self._reuse is not None
            or batch.media is not None
            or len(batch.texts) > self._limits.max_candidates_inline
            or batch.texts.nbytes > self._limits.max_bytes_inline
        )
        if takes_long:
            sizes, plans = await asyncio.to_thread(self._plan_all, batch)
        else:
            measures = measure_texts(batch.texts)
            sizes, found = measures.sizes, plan_batch(self._planner, batch, measures)
            plans = await run(found.complete, aside=not found.is_complete)
        group_sizes = reduce_groups(np.add, sizes, batch.offsets) + GROUP_BYTES
        if group_sizes.mean() > self._limits.large_group_bytes:
            trim_heap(self._limits.max_free_bytes)
        return [
            PlannedGroup(plan, size_bytes, *self._borders.place(plan.group.output))
            for plan, size_bytes in zip(plans, group_sizes.tolist(), strict=True)
        ]

    def _plan_all(self, batch: GroupBatch) -> tuple[IntArray, list[Plan]]:
        """Return the sizes of what the groups hold, and a plan for each group."""
        measures = self._planner.measure(batch)
        plans = plan_batch(self._planner, batch, measures).complete()
        return measures.sizes, plans if self._reuse is None else self._reuse.apply(plans)


async def _accept_any_input() -> None:
    """Accept any input."""
