"""The groups of a run in work: read, planned, ranked side by side, and written part by part.

One task reads ahead and starts groups while there is room; each group is a task; whoever completes
a part writes it. When the work must stop, reading and waiting end at once, and what is in flight
gets a few seconds to arrive, since it is paid.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from pipeline.errors import RerankError
from pipeline.fan_out import Room, read_ahead
from pipeline.group_plan import GroupPlan
from pipeline.measuring import measure_texts
from pipeline.paid_answers import Known, PaidAnswers
from pipeline.part_assembly import OpenPart, PartAssembly
from pipeline.partial_reuse import PartialReuse
from pipeline.planner import Planner
from pipeline.records import GroupBatch, Ranking
from pipeline.refused_sizes import RefusedSizes
from pipeline.rerank_group import rerank_group
from pipeline.settings import RunSettings
from pipeline.sink import PartBorders, PartInfo, Sink

DRAIN_S = 4.0
"""How long requests in flight may take once the work must stop."""
GROUPS_PER_REQUEST_IN_FLIGHT = 2
"""Groups in work for each request that may be in flight, so that one is always ready to go."""
MAX_BYTES_IN_WORK = 16 << 20
"""Texts of the groups in work; as strings and bodies they take about three times as much."""
GROUP_BYTES = 4_096
"""What a group takes beside its texts."""
MAX_CANDIDATES_IN_PARTS = 1_000_000
"""Ranked candidates that may wait for their part to be written."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A planned group and its place in the output."""

    plan: GroupPlan
    part_index: int
    ends_part: bool

    @property
    def size_bytes(self) -> int:
        """Memory that the group takes while it is in work."""
        return int(self.plan.group.measures.sizes.sum()) + GROUP_BYTES


class GroupWork:
    """Ranks the groups of batches and writes their parts.

    Args:
        batches: What to rank, in input order; read in a thread.
        borders: Which part each group belongs to.
        sink: Takes the parts.
        answers: Where scores come from.
        settings: How to rank.
        reuse: Finds what groups can begin with; None for exact reuse alone.
        on_ranking: Is told each plan and its ranking.
        on_stop: Is told, once, that no further request shall be sent, and why.

    Attributes:
        parts: The parts written, by index.
        refused_sizes: The sizes of requests that the service refused.
    """

    def __init__(
        self,
        batches: Iterator[GroupBatch],
        borders: PartBorders,
        sink: Sink,
        answers: PaidAnswers,
        settings: RunSettings,
        *,
        reuse: PartialReuse | None = None,
        on_ranking: Callable[[GroupPlan, Ranking], None],
        on_stop: Callable[[RerankError], None],
    ) -> None:
        self.parts: dict[int, PartInfo] = {}
        self.refused_sizes = RefusedSizes()
        self._batches = batches
        self._borders = borders
        self._sink = sink
        self._answers = answers
        self._reuse = reuse
        self._on_ranking = on_ranking
        self._on_stop = on_stop
        self._planner = Planner(settings)
        self._room = Room(
            max_groups=GROUPS_PER_REQUEST_IN_FLIGHT * settings.pace.max_in_flight,
            max_bytes=MAX_BYTES_IN_WORK,
        )
        self._assembly = PartAssembly(max_candidates=MAX_CANDIDATES_IN_PARTS)
        self._one_write = asyncio.Lock()
        self._ranking: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._stopped_by: RerankError | None = None

    async def run(self) -> None:
        """Rank everything.

        Raises:
            RerankError: why the work stopped, if it did before the end.
        """
        async with asyncio.TaskGroup() as tasks:
            self._reading = tasks.create_task(self._read(tasks))
        if self._stopped_by is not None:
            raise self._stopped_by

    def stop(self, error: RerankError) -> None:
        """Start nothing more, send nothing more, and give what is in flight `DRAIN_S` seconds."""
        if self._stopped_by is not None:
            return
        self._stopped_by = error
        self._on_stop(error)
        if self._reading is not None:
            self._reading.cancel()
        asyncio.get_running_loop().call_later(DRAIN_S, self._give_up)

    def _give_up(self) -> None:
        for task in self._ranking:
            task.cancel()

    async def _read(self, tasks: asyncio.TaskGroup) -> None:
        part: OpenPart | None = None
        try:
            async with aclosing(read_ahead(self._next_steps)) as batches:
                async for steps in batches:
                    known = await self._answers.look_up(
                        [key for step in steps for key in step.plan.keys()]
                    )
                    for step in steps:
                        part = part or await self._assembly.open(step.part_index)
                        await self._start(step, part, known, tasks)
                        if part.is_read:
                            part = None
            if part is not None:
                part.is_read = True
                await self._write_if_whole(part)
        except RerankError as error:
            self.stop(error)

    def _next_steps(self) -> list[Step] | None:
        """Plan the groups of the next batch; runs in a thread."""
        batch = next(self._batches, None)
        if batch is None:
            return None
        measures = measure_texts(batch.texts, self._planner.counter)
        plans = [self._planner.plan(group) for group in batch.iter_groups(measures)]
        if self._reuse is not None:
            plans = self._reuse.apply(plans)
        return [Step(plan, *self._borders.place(plan.group)) for plan in plans]

    async def _start(
        self,
        step: Step,
        part: OpenPart,
        known: Known,
        tasks: asyncio.TaskGroup,
    ) -> None:
        await self._room.take(step.size_bytes)
        part.num_started += 1
        part.num_candidates += step.plan.group.num_candidates
        part.is_read = step.ends_part
        task = tasks.create_task(self._rank(step, part, known))
        self._ranking.add(task)
        task.add_done_callback(self._ranking.discard)

    async def _rank(self, step: Step, part: OpenPart, known: Known) -> None:
        try:
            try:
                ranking = await rerank_group(
                    step.plan,
                    partial(self._answers.ask, known=known),
                    self._planner,
                    self.refused_sizes,
                )
            finally:
                self._room.give_back(step.size_bytes)
            self._on_ranking(step.plan, ranking)
            part.rankings[ranking.group.index] = ranking
            await self._write_if_whole(part)
        except RerankError as error:
            self.stop(error)

    async def _write_if_whole(self, part: OpenPart) -> None:
        if not part.is_whole:
            return
        # One at a time: a part is encoded whole in memory.
        async with self._one_write:
            info = await asyncio.to_thread(self._sink.write_part, part.index, part.in_order())
        self.parts[part.index] = info
        self._assembly.close(part)
