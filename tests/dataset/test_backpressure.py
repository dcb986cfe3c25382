"""Whatever stage of a run stalls, those before it stop at their bounds, and nothing is lost."""

import asyncio
import random
import threading
from base64 import b85encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.group_world import make_settings
from support.tables import candidates, write

from pipeline.core.records import Request, Scores
from pipeline.core.settings import Pace
from pipeline.dataset.limits import RunLimits
from pipeline.dataset.reader import GROUP_BYTES
from pipeline.dataset.rerank import rerank_dataset
from pipeline.dataset.session import Session
from pipeline.output.part_encoding import PartEncoding
from pipeline.output.part_info import PartInfo
from pipeline.output.sink import Sink
from pipeline.planning.plan import Plan
from pipeline.planning.single_request import BatchPlans
from pipeline.score_store.store import ScoreStore
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.pieces import Piece
from pipeline.source.reading import Reading

NUM_GROUPS, GROUP_SIZE, GROUPS_PER_BATCH, GROUPS_PER_PART = 400, 5, 4, 10
NUM_PARTS = NUM_GROUPS // GROUPS_PER_PART
IN_FLIGHT = 4
BATCH = BatchLimits(max_rows=GROUPS_PER_BATCH * GROUP_SIZE)
LIMITS = RunLimits(batch=BATCH)
ROOM = LIMITS.groups_per_request * IN_FLIGHT
READ_AHEAD = 3 * GROUPS_PER_BATCH
"""Groups of the batch that is being enqueued and of the next one, and one that may go on."""
TIMEOUT_S = 30.0
"""A guard, not a measure: a test that takes so long has failed."""


class StallableRun:
    """A run over many groups, each stage of which can be stalled.

    Attributes:
        read: Groups that were read.
        asked: Queries of the requests, in the order in which they were sent.
        answered: Requests that were answered.
        saved: Answers that the score store took.
        parts: Parts that were written, in order.
        reading, planning, writing, serving, saving: Cleared to stall the stage.
        serving_all: Cleared to stall the request of the query `held_back`.
        stop_reading_after: Groups after which `reading` stalls.
        plan_batches_before: Batches after which `planning` stalls.
        max_in_flight: The most requests that were in flight at once.
        begun: Parts that were begun.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = self.answered = self.saved = 0
        self.asked: list[str] = []
        self.parts: list[int] = []
        self.reading, self.planning, self.writing = (threading.Event() for _ in range(3))
        self.serving, self.serving_all, self.saving = (asyncio.Event() for _ in range(3))
        self.held_back: str | None = None
        self.stop_reading_after = NUM_GROUPS
        self.plan_batches_before = 0
        self.max_in_flight = self.begun = 0
        self._in_threads: set[asyncio.Future[Any]] = set()
        self._stalled: set[int] = set()
        self._folder, self._monkeypatch = folder, monkeypatch
        self._go_on()
        self._make_stages_stallable()

    @asynccontextmanager
    async def going(
        self,
        limits: RunLimits = LIMITS,
        *,
        text: list[str] | None = None,
        with_text: bool = False,
    ) -> AsyncIterator[None]:
        """Run while the body runs; at its end every stage goes on, and the run ends."""
        self._count_threads()
        columns = {} if text is None else {"text": text}
        given = write(candidates([GROUP_SIZE] * NUM_GROUPS, **columns), self._folder / "in.parquet")
        settings = make_settings(
            pace=Pace(max_in_flight=IN_FLIGHT),
            groups_per_part=GROUPS_PER_PART,
            with_text=with_text,
        )
        async with (
            asyncio.timeout(TIMEOUT_S),
            Session(settings, transport=self, limits=limits) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(rerank_dataset(session, str(given), str(self._folder / "out")))
            try:
                yield
            finally:
                self._go_on()

    async def send(self, request: Request) -> Scores:
        """Answer a request, as a transport does."""
        self.asked.append(request.query)
        self.max_in_flight = max(self.max_in_flight, len(self.asked) - self.answered)
        await self.serving.wait()
        if request.query == self.held_back:
            await self.serving_all.wait()
        self.answered += 1
        return Scores(np.linspace(1, 0, request.num_documents), 10, "id")

    async def comes_to(self, bound: Callable[[], bool]) -> None:
        """Wait until the run is at a bound, and then until nothing moves any more.

        Nothing can move once the event loop has gone round many times and every thread stalls.
        """
        rounds = 0
        while rounds < 200:
            is_still = bound() and len(self._in_threads) == len(self._stalled)
            rounds = rounds + 1 if is_still else 0
            await asyncio.sleep(0)

    def assert_complete(self) -> None:
        """Every candidate is in the output once, in order of score."""
        assert self.max_in_flight <= IN_FLIGHT
        assert sorted(self.parts) == list(range(NUM_PARTS))
        assert len(self.asked) == self.answered == self.saved == NUM_GROUPS
        files = sorted((self._folder / "out").glob("part-*.parquet"))
        rows = [row for file in files for row in pq.read_table(file).to_pylist()]
        assert [row["query_id"] for row in rows] == [
            f"q{group}" for group in range(NUM_GROUPS) for _ in range(GROUP_SIZE)
        ]
        assert len({row["doc_id"] for row in rows}) == NUM_GROUPS * GROUP_SIZE
        assert all(row["relevance_score"] is not None for row in rows)

    def _go_on(self) -> None:
        threads = (self.reading, self.planning, self.writing)
        for event in (*threads, self.serving, self.serving_all, self.saving):
            event.set()

    def _make_stages_stallable(self) -> None:
        next_piece, complete = Reading.next_piece, BatchPlans.complete
        save, encode, publish = ScoreStore.save, Sink.encode, Sink.publish
        batches = iter(range(NUM_GROUPS))

        def stallable_next_piece(reading: Reading) -> Piece | None:
            piece = next_piece(reading)
            if self.read >= self.stop_reading_after:
                self._wait_for(self.reading)
            self.read += piece.num_rows // GROUP_SIZE if piece else 0
            return piece

        def stallable_complete(plans: BatchPlans) -> list[Plan]:
            if not plans.is_complete and next(batches) >= self.plan_batches_before:
                self._wait_for(self.planning)
            return complete(plans)

        async def stallable_save(store: ScoreStore, request: Request, scores: Scores) -> None:
            await self.saving.wait()
            await save(store, request, scores)
            self.saved += 1

        def counted_encode(sink: Sink, index: int) -> PartEncoding:
            self.begun += 1
            return encode(sink, index)

        def stallable_publish(sink: Sink, part: PartEncoding) -> PartInfo:
            self._wait_for(self.writing)
            info = publish(sink, part)
            self.parts.append(part.info.index)
            return info

        self._monkeypatch.setattr(Reading, "next_piece", stallable_next_piece)
        self._monkeypatch.setattr(BatchPlans, "complete", stallable_complete)
        self._monkeypatch.setattr(ScoreStore, "save", stallable_save)
        self._monkeypatch.setattr(Sink, "encode", counted_encode)
        self._monkeypatch.setattr(Sink, "publish", stallable_publish)

    def _wait_for(self, event: threading.Event) -> None:
        """Stall the thread until the event is set."""
        self._stalled.add(threading.get_ident())
        assert event.wait(TIMEOUT_S)
        self._stalled.remove(threading.get_ident())

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


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StallableRun:
    return StallableRun(tmp_path, monkeypatch)


async def test_a_service_that_does_not_answer_stops_the_reading(run: StallableRun) -> None:
    run.serving.clear()

    async with run.going():
        await run.comes_to(lambda: len(run.asked) == IN_FLIGHT and run.read > ROOM)

        assert len(run.asked) == IN_FLIGHT
        assert run.answered == 0
        assert ROOM < run.read <= ROOM + READ_AHEAD

    run.assert_complete()


async def test_few_large_groups_have_room_where_many_small_ones_would(run: StallableRun) -> None:
    text_bytes = sum(len(f"text 0 {place}") for place in range(GROUP_SIZE))
    room_for_two = 2 * (text_bytes + GROUP_BYTES) + 1
    run.serving.clear()

    async with run.going(RunLimits(batch=BATCH, max_bytes_in_work=room_for_two)):
        await run.comes_to(lambda: len(run.asked) == 2)

        assert len(run.asked) == 2
        assert run.read <= 2 + READ_AHEAD

    run.assert_complete()


async def test_a_store_that_takes_no_answer_stops_the_requests_and_the_reading(
    run: StallableRun,
) -> None:
    run.saving.clear()

    async with run.going():
        await run.comes_to(lambda: run.answered == IN_FLIGHT and run.read > ROOM)

        assert run.saved == 0
        assert run.answered == len(run.asked) == IN_FLIGHT
        assert run.read <= ROOM + READ_AHEAD

    run.assert_complete()


async def test_parts_that_cannot_be_written_stop_the_requests_and_the_reading(
    run: StallableRun,
) -> None:
    most = 3 * GROUPS_PER_PART
    run.writing.clear()

    async with run.going(RunLimits(batch=BATCH, max_candidates_in_parts=most * GROUP_SIZE)):
        await run.comes_to(lambda: run.answered == most)

        assert run.parts == []
        assert len(run.asked) == run.answered == most
        assert run.read <= most + READ_AHEAD

    run.assert_complete()


async def test_encoded_parts_that_cannot_be_written_stop_the_reading(run: StallableRun) -> None:
    """An encoded part is whole in memory; here two are more than may wait, one is in work then."""
    dice = random.Random(1)
    texts = [b85encode(dice.randbytes(6_000)).decode() for _ in range(NUM_GROUPS * GROUP_SIZE)]
    of_part = GROUPS_PER_PART * GROUP_SIZE * len(texts[0])  # compressed a fifth less
    run.writing.clear()

    async with run.going(
        RunLimits(batch=BATCH, max_bytes_in_parts=4 * of_part // 3), text=texts, with_text=True
    ):
        await run.comes_to(lambda: run.answered == 3 * GROUPS_PER_PART)

        assert run.parts == []
        assert run.begun == 3
        assert len(run.asked) == run.answered == 3 * GROUPS_PER_PART

    run.assert_complete()
    assert run.begun == NUM_PARTS


async def test_texts_that_wait_for_a_slow_group_stop_the_reading(run: StallableRun) -> None:
    text_bytes = 1_000
    texts = [f"{row:0{text_bytes}}" for row in range(NUM_GROUPS * GROUP_SIZE)]
    room = 15 * GROUP_SIZE * text_bytes  # for so many groups, of two parts
    run.held_back = "query 0"
    run.serving_all.clear()

    async with run.going(
        RunLimits(batch=BATCH, max_bytes_in_parts=room), text=texts, with_text=True
    ):
        await run.comes_to(lambda: run.answered >= 10)

        assert 10 <= len(run.asked) <= 15
        assert run.read <= 15 + READ_AHEAD

    run.assert_complete()


async def test_a_slow_group_holds_back_its_part_and_no_other(run: StallableRun) -> None:
    run.held_back = "query 0"
    run.serving_all.clear()

    async with run.going():
        await run.comes_to(lambda: len(run.parts) == NUM_PARTS - 1)

        assert 0 not in run.parts
        assert len(run.asked) == NUM_GROUPS == run.answered + 1

    run.assert_complete()


async def test_a_slow_group_holds_back_the_reading_once_too_much_waits_for_it(
    run: StallableRun,
) -> None:
    run.held_back = "query 0"
    run.serving_all.clear()
    limits = RunLimits(batch=BATCH, max_candidates_in_parts=GROUPS_PER_PART * GROUP_SIZE)

    async with run.going(limits):
        await run.comes_to(lambda: len(run.asked) == GROUPS_PER_PART)

        assert run.parts == []
        assert run.answered == GROUPS_PER_PART - 1
        assert run.read <= GROUPS_PER_PART + READ_AHEAD

    run.assert_complete()


async def test_what_was_read_is_ranked_while_the_reading_stalls(run: StallableRun) -> None:
    run.stop_reading_after = 5 * GROUPS_PER_PART
    run.reading.clear()

    async with run.going():
        whole_parts = run.stop_reading_after // GROUPS_PER_PART
        await run.comes_to(lambda: len(run.parts) == whole_parts)

        assert run.read - 1 == run.answered == len(run.asked)  # the last one may go on
        assert run.parts == list(range(whole_parts))

    run.assert_complete()


async def test_a_plan_that_takes_long_stops_the_reading_alone(run: StallableRun) -> None:
    """Groups with a repeated text are planned one by one, in a thread."""
    run.plan_batches_before = 7
    run.planning.clear()

    async with run.going(text=["the same text"] * (NUM_GROUPS * GROUP_SIZE)):
        await run.comes_to(lambda: next_batch_is_read(run))
        planned = run.answered

        assert planned == len(run.asked)
        assert planned < run.read <= planned + READ_AHEAD

    run.assert_complete()


def next_batch_is_read(run: StallableRun) -> bool:
    """Return whether some batches are answered and one more is read."""
    return 0 < run.answered == len(run.asked) < run.read and len(run.asked) >= 6 * GROUPS_PER_BATCH
