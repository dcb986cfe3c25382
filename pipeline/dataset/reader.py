"""The groups of an input, read and planned a little ahead of their ranking.

A thread decodes and checks, which may wait for a disk or a network, and is mostly long calls. The
rest takes some milliseconds, and is done on the event loop, see `turns`; large groups, texts to be
tokenised and partial reuse take longer, and go aside.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import IntArray
from pipeline.core.groups import GroupBatch
from pipeline.dataset.offload import prefetch, run
from pipeline.output.part_borders import PartBorders
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.planning.reuse import PartialReuse
from pipeline.planning.single_request import plan_batch
from pipeline.source.pieces import Piece
from pipeline.source.reading import Reading
from pipeline.tokens.measures import measure_texts

MANY_CANDIDATES = 16_384
"""Work on more candidates than these goes to a thread: it takes more than some 10 ms."""
GROUPS_AT_ONCE = 128
"""Planning them takes some milliseconds; then whatever has arrived has its turn."""
GROUP_BYTES = 4_096
"""What a group takes beside its texts."""


class PlannedGroup(Struct, frozen=True, eq=False):
    """A planned group and its place in the output.

    Attributes:
        size_bytes: Memory that the group takes while it is in work.
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
        reuse: Finds what groups can begin with; None for exact reuse alone.
        check: Looks through the whole input while its beginning is read; no group is given out
            before it has found no fault.
    """

    def __init__(
        self,
        reading: Reading,
        planner: Planner,
        borders: PartBorders,
        reuse: PartialReuse | None = None,
        *,
        check: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._reading = reading
        self._planner = planner
        self._borders = borders
        self._reuse = reuse
        self._check = check or _nothing

    async def iter_planned(self) -> AsyncGenerator[list[PlannedGroup]]:
        """Yield the groups in input order, some at a time.

        Raises:
            RerankError: as the source, the store and the check do.
        """
        checked = asyncio.create_task(self._check(), name="check-input")
        try:
            async with aclosing(prefetch(self._reading.next_piece)) as pieces:
                async for piece in pieces:
                    await checked
                    for batch in await self._make_groups(piece):
                        for some in batch.cut(GROUPS_AT_ONCE):
                            yield await self._plan(some)
                            await asyncio.sleep(0)
            await checked
            for batch in await self._make_groups(None):
                yield await self._plan(batch)
        finally:
            checked.cancel()
            await asyncio.gather(checked, return_exceptions=True)

    async def _make_groups(self, piece: Piece | None) -> list[GroupBatch]:
        num_candidates = self._reading.open_candidates + (piece.num_candidates if piece else 0)
        aside = num_candidates > MANY_CANDIDATES
        return await run(lambda: self._reading.make_groups(piece), aside=aside)

    async def _plan(self, batch: GroupBatch) -> list[PlannedGroup]:
        if self._reuse is not None or len(batch.texts) > MANY_CANDIDATES:
            sizes, plans = await asyncio.to_thread(self._plan_all, batch)
        else:
            measures = measure_texts(batch.texts, self._planner.counter)
            sizes, found = measures.sizes, plan_batch(self._planner, batch, measures)
            plans = await run(found.complete, aside=not found.is_complete)
        group_sizes = np.add.reduceat(sizes, batch.offsets[:-1]) + GROUP_BYTES
        return [
            PlannedGroup(plan, size_bytes, *self._borders.place(plan.group.output))
            for plan, size_bytes in zip(plans, group_sizes.tolist(), strict=True)
        ]

    def _plan_all(self, batch: GroupBatch) -> tuple[IntArray, list[Plan]]:
        """Sizes of the texts, and a plan for each group."""
        measures = measure_texts(batch.texts, self._planner.counter)
        plans = plan_batch(self._planner, batch, measures).complete()
        return measures.sizes, plans if self._reuse is None else self._reuse.apply(plans)


async def _nothing() -> None:
    """Look for no fault."""
