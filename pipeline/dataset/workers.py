"""The groups of a run in work: read, planned, ranked side by side, and written part by part.

One task reads ahead and puts groups out to be ranked, while there is room; others, as many as are
of use, take them one by one; whoever completes a part writes it. When the work must stop, reading
and waiting end at once, and what is in flight gets a few seconds to arrive, since it is paid.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Any

from pipeline.core.errors import RerankError
from pipeline.core.records import Ranking
from pipeline.dataset.cached_scorer import CachedScorer
from pipeline.dataset.capacity import CapacityLimiter
from pipeline.dataset.offload import run_steps
from pipeline.dataset.parts import OpenPart, PartAssembly
from pipeline.dataset.reader import GroupReader, PlannedGroup
from pipeline.output.part_info import PartInfo
from pipeline.output.sink import Sink
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.ranking.refused_sizes import RefusedSizes
from pipeline.ranking.rerank_group import Ask, rerank_group

DRAIN_S = 4.0
"""How long requests in flight may take once the work must stop."""
GROUPS_PER_REQUEST_IN_FLIGHT = 2
"""Groups in work for each request that may be in flight, so that one is always ready to go."""
MAX_BYTES_IN_WORK = 16 << 20
"""Texts of the groups in work; as strings and bodies they take about three times as much."""
MAX_CANDIDATES_IN_PARTS = 1_000_000
"""Ranked candidates that may wait for their part to be written."""


class GroupScheduler:
    """Ranks the groups of batches and writes their parts.

    Args:
        reader: What to rank, in input order.
        planner: Plans what is sent once more, where the service refuses something.
        sink: Takes the parts.
        answers: Where scores come from.
        on_ranked: Is told each plan and what became of it.
        on_size_refusal: Called for each request that the service refused for its size.
        target_concurrency: How many groups should be ranked at once, at this moment.
        on_stop: Is told, once, that no further request shall be sent, and why.

    Attributes:
        parts: The parts written, by index.
    """

    def __init__(
        self,
        reader: GroupReader,
        planner: Planner,
        sink: Sink,
        answers: CachedScorer,
        *,
        on_ranked: Callable[[Plan, Ranking], None],
        on_size_refusal: Callable[[], None],
        target_concurrency: Callable[[], int],
        on_stop: Callable[[RerankError], None],
    ) -> None:
        self.parts: dict[int, PartInfo] = {}
        self._refused_sizes = RefusedSizes(on_size_refusal)
        self._reader = reader
        self._planner = planner
        self._sink = sink
        self._answers = answers
        self._on_ranked = on_ranked
        self._useful_at_once = target_concurrency
        self._on_stop = on_stop
        self._room = CapacityLimiter(
            max_groups=GROUPS_PER_REQUEST_IN_FLIGHT * planner.settings.pace.max_in_flight,
            max_bytes=MAX_BYTES_IN_WORK,
        )
        self._assembly = PartAssembly(max_candidates=MAX_CANDIDATES_IN_PARTS)
        self._one_write = asyncio.Lock()
        self._ready: asyncio.Queue[tuple[PlannedGroup, OpenPart, Ask] | None] = asyncio.Queue()
        self._rankers: set[asyncio.Task[Any]] = set()
        self._idle_rankers = 0
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
        while not self._ready.empty():
            self._ready.get_nowait()
        self._ready.put_nowait(None)
        if self._reading is not None:
            self._reading.cancel()
        asyncio.get_running_loop().call_later(DRAIN_S, self._give_up)

    def _give_up(self) -> None:
        for ranker in self._rankers:
            ranker.cancel()

    async def _read(self, tasks: asyncio.TaskGroup) -> None:
        part: OpenPart | None = None
        try:
            async with aclosing(self._reader.iter_planned()) as batches:
                async for steps in batches:
                    known = await self._answers.look_up(
                        [key for step in steps for key in step.plan.keys()]
                    )
                    ask = partial(self._answers.ask, known=known)
                    for step in steps:
                        part = part or await self._assembly.open(step.part_index)
                        if not self._room.try_acquire(step.size_bytes):
                            await self._room.acquire(step.size_bytes)
                        self._put_out(step, part, ask, tasks)
                        if part.is_read:
                            part = None
            if part is not None:
                part.is_read = True
                if part.is_whole:
                    await self._write(part)
        except RerankError as error:
            self.stop(error)
        finally:
            self._ready.put_nowait(None)

    def _put_out(
        self, step: PlannedGroup, part: OpenPart, ask: Ask, tasks: asyncio.TaskGroup
    ) -> None:
        """Let a group be ranked, for which there is room."""
        rows = step.plan.group.output
        part.num_started += 1
        part.num_candidates += rows.num_candidates
        part.passthrough_bytes += rows.passthrough_bytes
        part.is_read = step.ends_part
        self._ready.put_nowait((step, part, ask))
        self._add_ranker(tasks)

    def _add_ranker(self, tasks: asyncio.TaskGroup) -> None:
        """Have one more task rank what is ready, if that is of use."""
        if (
            self._ready.qsize() > self._idle_rankers
            and len(self._rankers) < self._useful_at_once()
            and self._stopped_by is None
        ):
            self._rankers.add(tasks.create_task(self._rank_ready(tasks)))

    async def _rank_ready(self, tasks: asyncio.TaskGroup) -> None:
        """Rank one group after the other, while it is of use; None in line is the end."""
        me = asyncio.current_task()
        assert me is not None
        try:
            while len(self._rankers) <= self._useful_at_once():
                self._idle_rankers += 1
                try:
                    ready = await self._ready.get()
                finally:
                    self._idle_rankers -= 1
                if ready is None:
                    self._ready.put_nowait(None)  # for the others
                    return
                await self._rank(*ready)
                self._add_ranker(tasks)  # another one may have begun to wait for its next attempt
        finally:
            self._rankers.remove(me)

    async def _rank(self, step: PlannedGroup, part: OpenPart, ask: Ask) -> None:
        try:
            try:
                ranking = await rerank_group(step.plan, ask, self._planner, self._refused_sizes)
            finally:
                self._room.release(step.size_bytes)
            self._on_ranked(step.plan, ranking)
            part.ranked[ranking.group.index] = ranking
            if part.is_whole:
                await self._write(part)
        except RerankError as error:
            self.stop(error)

    async def _write(self, part: OpenPart) -> None:
        # One at a time: a part is encoded whole in memory.
        async with self._one_write:
            encoding = self._sink.encode(part.index, part.iter_in_order())
            await run_steps(encoding.steps(), aside=part.is_large)
            info = await asyncio.to_thread(self._sink.publish, encoding)
        self.parts[part.index] = info
        self._assembly.close(part)
