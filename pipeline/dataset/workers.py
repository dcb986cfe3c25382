"""The groups of a run in work: read, planned, ranked side by side, and written part by part.

One task reads ahead and enqueues groups while there is room. Workers, as many as are useful, rank
them one by one; the worker that completes a part writes it. When the run must stop, reading and
waiting end at once, and requests in flight get a few seconds to be answered, since they are paid.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeAlias

from pipeline.core.errors import RerankError
from pipeline.core.stop import StopSwitch
from pipeline.dataset.cached_scorer import CachedScorer
from pipeline.dataset.capacity import CapacityLimiter
from pipeline.dataset.commit import Committer
from pipeline.dataset.limits import RunLimits
from pipeline.dataset.offload import run
from pipeline.dataset.parts import OpenPart, PartAssembly
from pipeline.dataset.reader import GroupReader, PlannedGroup
from pipeline.dataset.run_stats import RunStats
from pipeline.output.sink import Sink
from pipeline.planning.planner import Planner
from pipeline.ranking.refused_sizes import RefusedSizes
from pipeline.ranking.rerank_group import Ask, rerank_group

_Job: TypeAlias = tuple[PlannedGroup, OpenPart, Ask]


class GroupScheduler:
    """Ranks the groups of an input and writes their parts; for one run.

    Args:
        reader: The groups, in input order.
        planner: Packs a group anew if the service refuses the size of a request.
        scorer: Where scores come from.
        sink: Takes the parts.
        committer: Says when.
        stats: Where rankings and parts are counted.
        stop_switch: Ends the waits of this run.
        on_error: Called with each error that must end the run; expected to call `stop`.
        target_concurrency: Returns how many groups should be ranked at once, at this moment.
        limits: How much to hold at once.
    """

    def __init__(
        self,
        reader: GroupReader,
        planner: Planner,
        scorer: CachedScorer,
        sink: Sink,
        committer: Committer,
        *,
        stats: RunStats,
        stop_switch: StopSwitch,
        on_error: Callable[[RerankError], None],
        target_concurrency: Callable[[], int],
        limits: RunLimits,
    ) -> None:
        self._reader = reader
        self._planner = planner
        self._scorer = scorer
        self._sink = sink
        self._committer = committer
        self._stats = stats
        self._stop_switch = stop_switch
        self._on_error = on_error
        self._target_concurrency = target_concurrency
        self._drain_s = limits.drain_s
        self._refused_sizes = RefusedSizes(stats.add_size_refusal)
        self._capacity = CapacityLimiter(
            max_groups=limits.groups_per_request * planner.settings.pace.max_in_flight,
            max_bytes=limits.max_bytes_in_work,
        )
        self._assembly = PartAssembly(
            sink.encode,
            max_candidates=limits.max_candidates_in_parts,
            max_bytes=limits.max_bytes_in_parts,
        )
        self._write_lock = asyncio.Lock()
        self._ready: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._workers: set[asyncio.Task[Any]] = set()
        self._num_idle = 0
        self._is_read = False

    @property
    def is_draining(self) -> bool:
        """Whether all groups are in work: none waits to be begun, and no more will come."""
        return self._is_read and self._ready.qsize() <= 1  # the None that ends the queue

    async def run(self) -> None:
        """Rank everything.

        Raises:
            RerankError: the one that the stop switch was stopped by before the end.
        """
        self._stop_switch.on_stop.append(self._drain)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(tasks), name="read-groups")
        self._stop_switch.raise_if_stopped()

    def _drain(self) -> None:
        """Start nothing more, and let what is in flight arrive for a while."""
        while not self._ready.empty():
            self._ready.get_nowait()
        self._ready.put_nowait(None)
        asyncio.get_running_loop().call_later(self._drain_s, self._cancel_workers)

    def _cancel_workers(self) -> None:
        for worker in self._workers:
            worker.cancel()

    async def _read(self, tasks: asyncio.TaskGroup) -> None:
        """Enqueue all groups; a stop ends this at once."""
        try:
            with self._stop_switch.interruptible():
                await self._enqueue_all(tasks)
        except RerankError as error:
            self._on_error(error)
        finally:
            self._is_read = True
            self._ready.put_nowait(None)

    async def _enqueue_all(self, tasks: asyncio.TaskGroup) -> None:
        part: OpenPart | None = None
        async with aclosing(self._reader.iter_planned()) as batches:
            async for batch in batches:
                keys = [key for planned in batch for key in planned.plan.keys()]
                known = await self._scorer.look_up(keys)
                ask = partial(self._scorer.ask, known=known)
                for planned in batch:
                    if part is None:
                        first_group = planned.plan.group.output.index
                        part = await self._assembly.open(planned.part_index, first_group)
                    if self._assembly.is_full:
                        await self._assembly.wait_for_room()
                    if not self._capacity.try_acquire(planned.size_bytes):
                        await self._capacity.acquire(planned.size_bytes)
                    self._enqueue(planned, part, ask, tasks)
                    if part.is_read:
                        part = None
        if part is not None:
            part.is_read = True
            if part.is_ready:
                await self._encode_and_write(part)

    def _enqueue(
        self, planned: PlannedGroup, part: OpenPart, ask: Ask, tasks: asyncio.TaskGroup
    ) -> None:
        """Let a worker rank a group, for which there is room."""
        output = planned.plan.group.output
        part.num_started += 1
        part.num_candidates += output.num_candidates
        self._assembly.waiting_bytes += output.passthrough_bytes
        part.is_read = planned.ends_part
        self._ready.put_nowait((planned, part, ask))
        self._add_worker(tasks)

    def _add_worker(self, tasks: asyncio.TaskGroup) -> None:
        """Start one more worker if groups are ready for it and it is useful."""
        if (
            self._ready.qsize() > self._num_idle
            and len(self._workers) < self._target_concurrency()
            and self._stop_switch.error is None
        ):
            self._workers.add(tasks.create_task(self._work(tasks)))

    async def _work(self, tasks: asyncio.TaskGroup) -> None:
        """Rank one group after the other as long as this is useful; None ends the queue."""
        worker = asyncio.current_task()
        assert worker is not None
        try:
            while len(self._workers) <= self._target_concurrency():
                self._num_idle += 1
                try:
                    job = await self._ready.get()
                finally:
                    self._num_idle -= 1
                if job is None:
                    self._ready.put_nowait(None)  # for the other workers
                    return
                part = job[1]
                try:
                    await self._rank(*job)
                    del job  # or its texts would stay in memory until the next one comes
                    if part.is_ready:
                        await self._encode_and_write(part)
                except RerankError as error:
                    self._on_error(error)
                del part
                self._add_worker(tasks)  # a request may have begun to wait for its next attempt
        finally:
            self._workers.remove(worker)

    async def _rank(self, planned: PlannedGroup, part: OpenPart, ask: Ask) -> None:
        """Rank a group, and free the room that it took.

        Raises:
            RerankError: if the run must end.
        """
        try:
            ranking = await rerank_group(planned.plan, ask, self._planner, self._refused_sizes)
        finally:
            self._capacity.release(planned.size_bytes)
        self._stats.add_ranking(planned.plan, ranking)
        part.add(ranking)

    async def _encode_and_write(self, part: OpenPart) -> None:
        """Encode the pieces of a part that are complete, and write it once it is whole.

        Others leave the part alone meanwhile: what they add is seen here.
        """
        part.is_taken = True
        while (piece := part.encoding.pieces.take(at_end=part.is_whole)) is not None:
            await run(partial(part.encode, piece.rankings), aside=piece.takes_long)
            self._assembly.free(piece.num_bytes)
            await asyncio.sleep(0)
        part.is_taken = part.is_whole
        if part.is_whole:
            await run(part.encoding.finish, aside=part.has_many_groups)
            async with self._write_lock:  # an encoded part is whole in memory
                publish = partial(self._sink.publish, part.encoding)
                info = await self._committer.commit_part(publish)
            self._stats.add_part(info, part.begun_s)
            self._assembly.close(info.index)
