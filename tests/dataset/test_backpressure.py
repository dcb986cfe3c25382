"""Whatever stage of a run stalls, those before it stop at their bounds, and nothing is lost."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.tables import candidates, write

from pipeline.core.errors import RerankError
from pipeline.core.groups import GroupBatch, TextMeasures
from pipeline.core.models import PROFILES
from pipeline.core.providers import PROVIDERS
from pipeline.core.records import Request, Scores
from pipeline.core.settings import Pace, RunSettings
from pipeline.dataset import reader as group_reader
from pipeline.dataset import workers as group_work
from pipeline.dataset.cached_scorer import CachedScorer
from pipeline.dataset.reader import GroupReader
from pipeline.dataset.workers import GROUPS_PER_REQUEST_IN_FLIGHT, GroupScheduler
from pipeline.output.part_borders import PartBorders
from pipeline.output.part_encoding import PartEncoding
from pipeline.output.part_info import PartInfo
from pipeline.output.sink import Sink
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.planning.single_request import BatchPlans
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.segment_writer import SegmentWriter
from pipeline.score_store.segments import Message
from pipeline.score_store.store import ScoreStore
from pipeline.source.listing import list_input
from pipeline.source.pieces import BatchLimits, Piece
from pipeline.source.reading import Reading
from pipeline.source.source import Source
from pipeline.storage.location import locate

NUM_GROUPS, GROUP_SIZE, GROUPS_PER_BATCH, GROUPS_PER_PART = 400, 5, 4, 10
IN_FLIGHT = 4
ROOM = GROUPS_PER_REQUEST_IN_FLIGHT * IN_FLIGHT
READ_AHEAD = 3 * GROUPS_PER_BATCH
"""Groups of the batch whose turn it is and of the next one, and one that may go on in a third."""
LIMIT_S = 30.0
"""A guard, not a measure: a test that takes so long has failed."""


class Run:
    """A run over many groups, of which every stage can be stalled.

    Attributes:
        read: Groups that were read.
        asked: Queries of the requests, in the order in which they were sent.
        answered: Requests that were answered.
        saved: Answers that are in the store's file.
        parts: Parts that were written, in order.
        reading, serving, saving, writing: Set while the stage goes on.
        held_back: The query of a request that is not answered until `serving_all` is set.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = self.answered = self.saved = 0
        self.asked: list[str] = []
        self.parts: list[int] = []
        self.reading, self.saving, self.writing = (threading.Event() for _ in range(3))
        self.serving, self.serving_all = asyncio.Event(), asyncio.Event()
        self.held_back: str | None = None
        self.stop_reading_after = NUM_GROUPS
        self.store_limits = StoreLimits()
        self.most_at_once = 0
        self._in_threads: set[asyncio.Future[Any]] = set()
        self._stalled: set[int] = set()
        self._folder, self._monkeypatch = folder, monkeypatch
        for event in (self.reading, self.saving, self.writing, self.serving, self.serving_all):
            event.set()
        write_to_store, publish = SegmentWriter.write, Sink.publish

        def saving(files: SegmentWriter, messages: Sequence[Message]) -> Any:
            self.wait_for(self.saving)
            written = write_to_store(files, messages)
            self.saved += sum(message.facts.num_requests for message in messages)
            return written

        def writing(sink: Sink, part: PartEncoding) -> PartInfo:
            self.wait_for(self.writing)
            info = publish(sink, part)
            self.parts.append(part.index)
            return info

        monkeypatch.setattr(SegmentWriter, "write", saving)
        monkeypatch.setattr(Sink, "publish", writing)

    @asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        """Start the run; at the end every stage goes on, and the run comes to its end."""
        self._count_threads()
        settings = RunSettings(
            provider=PROVIDERS["dashscope"],
            profile=PROFILES["qwen3-rerank"],
            url="http://127.0.0.1:1/",
            pace=Pace(max_in_flight=IN_FLIGHT),
        )
        rows = GROUPS_PER_BATCH * GROUP_SIZE
        given = write(candidates([GROUP_SIZE] * NUM_GROUPS), self._folder / "in.parquet")
        source = Source(list_input(str(given)), limits=BatchLimits(max_rows=rows))
        output = locate(str(self._folder / "out"))
        sink = Sink(output, source.output_schema, fingerprint="f", top_n=None)
        async with ScoreStore(
            output.child("_scores"), linger_s=0, limits=self.store_limits
        ) as store:
            planner = Planner(settings)
            reading = StalledReading(self, source.read())
            work = GroupScheduler(
                GroupReader(reading, planner, PartBorders(GROUPS_PER_PART, ())),
                planner,
                sink,
                CachedScorer(store, self),  # type: ignore[arg-type]  # it scores, as a client does
                on_ranked=lambda plan, ranked: None,
                on_size_refusal=lambda: None,
                target_concurrency=lambda: IN_FLIGHT,
                on_stop=_raise,
            )
            async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
                tasks.create_task(work.run())
                try:
                    yield
                finally:
                    for event in (self.reading, self.saving, self.writing):
                        event.set()
                    self.serving.set()
                    self.serving_all.set()

    def wait_for(self, event: threading.Event) -> None:
        """Stall the thread until the event is set."""
        self._stalled.add(threading.get_ident())
        assert event.wait(LIMIT_S)
        self._stalled.remove(threading.get_ident())

    async def score(self, request: Request) -> Scores:
        """Answer a request, as the client does."""
        self.asked.append(request.query)
        self.most_at_once = max(self.most_at_once, len(self.asked) - self.answered)
        await self.serving.wait()
        if request.query == self.held_back:
            await self.serving_all.wait()
        self.answered += 1
        return Scores(np.linspace(1, 0, request.num_documents), 10, "id")

    async def comes_to(self, bound: Callable[[], bool]) -> None:
        """Wait until the run is at a bound, and then until nothing moves any more.

        Nothing can move once the event loop has gone round many times and every thread stalls.
        """
        turns = 0
        while turns < 200:
            is_still = bound() and len(self._in_threads) == len(self._stalled)
            turns = turns + 1 if is_still else 0
            await asyncio.sleep(0)

    def _count_threads(self) -> None:
        """Note what the event loop has threads do."""
        loop = asyncio.get_running_loop()
        run_in_executor = loop.run_in_executor

        def counted(*arguments: Any) -> asyncio.Future[Any]:
            future = run_in_executor(*arguments)
            self._in_threads.add(future)
            future.add_done_callback(self._in_threads.discard)
            return future

        self._monkeypatch.setattr(loop, "run_in_executor", counted)

    def assert_complete(self) -> None:
        """Every candidate once, in order of score."""
        assert self.most_at_once <= IN_FLIGHT
        assert sorted(self.parts) == list(range(NUM_GROUPS // GROUPS_PER_PART))
        assert len(self.asked) == self.answered == NUM_GROUPS
        files = sorted((self._folder / "out").glob("part-*.parquet"))
        rows = [row for file in files for row in pq.read_table(file).to_pylist()]
        assert [row["query_id"] for row in rows] == [
            f"q{group}" for group in range(NUM_GROUPS) for _ in range(GROUP_SIZE)
        ]
        assert len({row["doc_id"] for row in rows}) == NUM_GROUPS * GROUP_SIZE
        assert all(row["relevance_score"] is not None for row in rows)


class StalledReading(Reading):
    """Reads a source, as far as a run lets it."""

    def __init__(self, run: Run, reading: Reading) -> None:
        super().__init__(reading._pieces, reading._groups)
        self._run = run

    def next_piece(self) -> Piece | None:
        run, piece = self._run, super().next_piece()
        if run.read >= run.stop_reading_after:
            run.wait_for(run.reading)
        run.read += piece.num_rows // GROUP_SIZE if piece else 0
        return piece


def _raise(error: RerankError) -> None:
    raise error


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch)


async def test_a_service_that_answers_nothing_stops_the_reading(run: Run) -> None:
    run.serving.clear()

    async with run.going():
        await run.comes_to(lambda: len(run.asked) == IN_FLIGHT and run.read > ROOM)

        assert len(run.asked) == IN_FLIGHT
        assert run.answered == 0
        assert ROOM < run.read <= ROOM + READ_AHEAD

    run.assert_complete()


async def test_few_large_groups_have_room_where_many_small_ones_would(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    text_bytes = sum(len(f"text 0 {place}") for place in range(GROUP_SIZE))
    room_for_two = 2 * (text_bytes + group_reader.GROUP_BYTES) + 1
    monkeypatch.setattr(group_work, "MAX_BYTES_IN_WORK", room_for_two)
    run.serving.clear()

    async with run.going():
        await run.comes_to(lambda: len(run.asked) == 2)

        assert len(run.asked) == 2
        assert run.read <= 2 + READ_AHEAD

    run.assert_complete()


async def test_a_store_that_cannot_write_stops_the_requests_and_the_reading(run: Run) -> None:
    max_waiting = 6
    run.store_limits = StoreLimits(max_waiting=max_waiting)
    run.saving.clear()

    async with run.going():
        # What is being written, what waits for that, and what each ranker wants to hand over.
        await run.comes_to(lambda: run.answered > max_waiting + IN_FLIGHT)

        assert run.saved == 0
        assert run.answered == len(run.asked) <= 2 * max_waiting + IN_FLIGHT
        assert run.read <= run.answered + ROOM + READ_AHEAD

    run.assert_complete()
    assert run.saved == NUM_GROUPS


async def test_parts_that_cannot_be_written_stop_the_requests_and_the_reading(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_parts = 3
    most = open_parts * GROUPS_PER_PART
    monkeypatch.setattr(group_work, "MAX_CANDIDATES_IN_PARTS", most * GROUP_SIZE)
    run.writing.clear()

    async with run.going():
        await run.comes_to(lambda: run.answered == most)

        assert run.parts == []
        assert len(run.asked) == run.answered == most
        assert run.read <= most + READ_AHEAD

    run.assert_complete()


async def test_a_slow_group_holds_back_its_part_and_no_other(run: Run) -> None:
    run.held_back = "query 0"
    run.serving_all.clear()

    async with run.going():
        await run.comes_to(lambda: len(run.parts) == NUM_GROUPS // GROUPS_PER_PART - 1)

        assert 0 not in run.parts
        assert len(run.asked) == NUM_GROUPS == run.answered + 1

    run.assert_complete()


async def test_a_slow_group_holds_back_the_reading_once_too_much_waits_for_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_work, "MAX_CANDIDATES_IN_PARTS", GROUPS_PER_PART * GROUP_SIZE)
    run.held_back = "query 0"
    run.serving_all.clear()

    async with run.going():
        await run.comes_to(lambda: len(run.asked) == GROUPS_PER_PART)

        assert run.parts == []
        assert run.answered == GROUPS_PER_PART - 1
        assert run.read <= GROUPS_PER_PART + READ_AHEAD

    run.assert_complete()


async def test_what_was_read_is_ranked_while_the_reading_stalls(run: Run) -> None:
    run.stop_reading_after = 5 * GROUPS_PER_PART
    run.reading.clear()

    async with run.going():
        whole_parts = run.stop_reading_after // GROUPS_PER_PART
        await run.comes_to(lambda: len(run.parts) == whole_parts)

        assert run.read - 1 == run.answered == len(run.asked)  # the last one may go on
        assert run.parts == list(range(whole_parts))

    run.assert_complete()


async def test_a_plan_that_takes_long_stops_the_reading_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    planning, numbers, batches_before = threading.Event(), itertools.count(), 7

    class SlowPlans(BatchPlans, frozen=True):
        def complete(self) -> list[Plan]:
            if next(numbers) >= batches_before:
                run.wait_for(planning)
            return super().complete()

    def plan_none_quickly(
        planner: Planner, batch: GroupBatch, measures: TextMeasures
    ) -> BatchPlans:
        groups = list(batch.iter_groups(measures))
        return SlowPlans(planner, groups, [None] * len(groups))

    monkeypatch.setattr(group_reader, "plan_batch", plan_none_quickly)

    async with run.going():
        try:
            await run.comes_to(lambda: next_batch_is_read(run))
            planned = run.answered

            assert planned == len(run.asked)
            assert planned < run.read <= planned + READ_AHEAD
        finally:
            planning.set()

    run.assert_complete()


def next_batch_is_read(run: Run) -> bool:
    """The groups of some batches are answered, and of one more they are read."""
    return 0 < run.answered == len(run.asked) < run.read and len(run.asked) >= 6 * GROUPS_PER_BATCH
