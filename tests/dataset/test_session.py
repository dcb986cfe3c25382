"""Several datasets in one session: equal to separate runs, within one quota, each on its own."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.fake_reranker import FakeReranker, Reply, served
from support.group_world import make_settings
from support.real_runs import groups, last_record, results
from support.tables import candidates, write

from pipeline.core.errors import (
    CostLimitReached,
    InputError,
    Interrupted,
    OutputBusy,
    RerankError,
    ServiceRefused,
    SettingsError,
    TooManyRejects,
)
from pipeline.core.settings import Pace, RunSettings
from pipeline.dataset.rerank import DatasetRun, rerank_dataset
from pipeline.dataset.session import Session
from pipeline.dataset.summary import RunSummary
from pipeline.output.lock.output_lock import is_held
from pipeline.storage.location import locate

SIZES, OTHER_SIZES = [3] * 12, [3] * 6 + [5] * 6
EQUAL_REQUESTS = 6
"""The first groups of both datasets are equal."""
ALL_REQUESTS = len(SIZES) + len(OTHER_SIZES) - EQUAL_REQUESTS


class Datasets:
    """Two inputs in a folder, and where their outputs go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first = groups(SIZES, folder / "first.parquet")
        self.second = groups(OTHER_SIZES, folder / "second.parquet")

    def output(self, given: Path) -> Path:
        """Return where the output of an input goes."""
        return self.folder / f"{given.stem}-out"

    def results(self) -> list[dict[str, bytes]]:
        """Return the result files of both outputs."""
        return [results(self.output(given)) for given in (self.first, self.second)]

    def settings(self, fake: FakeReranker, **how: Any) -> RunSettings:
        """Return settings with a score store for both."""
        how = {"score_store": str(self.folder / "store"), "groups_per_part": 5} | how
        return make_settings(url=fake.url, **how)

    async def rerank(self, session: Session, given: Path) -> RunSummary:
        """Rerank an input in a session."""
        return await rerank_dataset(session, str(given), str(self.output(given)))

    def run(self, session: Session, given: Path) -> DatasetRun:
        """Return a run over an input."""
        return DatasetRun(session, str(given), str(self.output(given)))


@pytest.fixture
def datasets(tmp_path: Path) -> Datasets:
    return Datasets(tmp_path / "together")


@pytest.fixture
async def expected(tmp_path: Path) -> list[dict[str, bytes]]:
    """Return what two runs in sessions of their own write."""
    apart = Datasets(tmp_path / "apart")
    for given in (apart.first, apart.second):
        async with FakeReranker() as fake:
            settings = apart.settings(fake, score_store=None)
            async with Session(settings, "key") as session:
                await apart.rerank(session, given)
            assert len(fake.calls) == 12
    return apart.results()


async def side_by_side(*runs: Awaitable[RunSummary]) -> list[RunSummary | RerankError]:
    """Await all at once; return the summary or the error of each."""

    async def outcome(run: Awaitable[RunSummary]) -> RunSummary | RerankError:
        try:
            return await run
        except RerankError as error:
            return error

    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(outcome(run)) for run in runs]
    return [task.result() for task in started]


async def reached(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # nothing else tells
            await asyncio.sleep(0.005)


def assert_free(datasets: Datasets) -> None:
    """Nobody holds an output any more."""
    for given in (datasets.first, datasets.second):
        assert not is_held(locate(str(datasets.output(given))))


async def test_one_after_the_other_they_are_as_two_runs_and_equal_requests_are_paid_once(
    datasets: Datasets, expected: list[dict[str, bytes]]
) -> None:
    async with FakeReranker() as fake, Session(datasets.settings(fake), "key") as session:
        first = await datasets.rerank(session, datasets.first)
        assert_free(datasets)
        second = await datasets.rerank(session, datasets.second)
        total = session.metrics()

    assert datasets.results() == expected
    assert len(fake.calls) == ALL_REQUESTS
    assert (first.requests, first.requests_reused) == (12, 0)
    assert (second.requests, second.requests_reused) == (6, EQUAL_REQUESTS)
    assert (total.answered, total.requests_reused) == (ALL_REQUESTS, EQUAL_REQUESTS)


async def test_side_by_side_they_are_as_two_runs_and_equal_requests_are_paid_once(
    datasets: Datasets, expected: list[dict[str, bytes]]
) -> None:
    async with (
        FakeReranker(latency_s=0.02) as fake,
        Session(datasets.settings(fake), "key") as session,
    ):
        outcomes = await side_by_side(
            datasets.rerank(session, datasets.first), datasets.rerank(session, datasets.second)
        )
        total = session.metrics()

    assert datasets.results() == expected
    assert len(fake.calls) == total.answered == ALL_REQUESTS
    assert all(isinstance(summary, RunSummary) for summary in outcomes)
    assert_free(datasets)


async def test_each_record_speaks_of_its_own_run(datasets: Datasets) -> None:
    async with FakeReranker() as fake, Session(datasets.settings(fake), "key") as session:
        outcomes = await side_by_side(
            datasets.rerank(session, datasets.first), datasets.rerank(session, datasets.second)
        )
        total = session.metrics()

    records = [last_record(datasets.output(given)) for given in (datasets.first, datasets.second)]
    assert [record["state"] for record in records] == ["done", "done"]
    assert [record["requests"] + record["requests_reused"] for record in records] == [12, 12]
    assert sum(record["requests"] for record in records) == total.answered == ALL_REQUESTS
    assert sum(record["total_tokens"] for record in records) == total.tokens
    assert sum(record["cost_usd"] for record in records) == pytest.approx(total.cost_usd)
    assert [record["candidates_done"] for record in records] == [sum(SIZES), sum(OTHER_SIZES)]
    for summary, record in zip(outcomes, records, strict=True):
        assert isinstance(summary, RunSummary)
        assert summary.requests == record["requests"]


async def test_the_quota_holds_for_both_together(datasets: Datasets) -> None:
    pace = Pace(requests_per_minute=1_200)
    async with (
        FakeReranker() as fake,
        Session(datasets.settings(fake, pace=pace), "key") as session,
    ):
        outcomes = await side_by_side(
            datasets.rerank(session, datasets.first), datasets.rerank(session, datasets.second)
        )

    times = sorted(call.at for call in fake.calls)
    assert times[-1] - times[0] >= 0.95 * (ALL_REQUESTS - 1) / 20
    for summary in outcomes:
        assert isinstance(summary, RunSummary)
        assert summary.quota_used == pytest.approx(1, abs=0.1)
        assert summary.bound_by == "requests_per_minute"


async def test_the_bound_on_requests_in_flight_holds_for_both_together(datasets: Datasets) -> None:
    settings = {"pace": Pace(max_in_flight=4)}
    async with (
        FakeReranker(latency_s=0.02) as fake,
        Session(datasets.settings(fake, **settings), "key") as session,
    ):
        await side_by_side(
            datasets.rerank(session, datasets.first), datasets.rerank(session, datasets.second)
        )

    assert fake.max_in_flight == 4


async def test_a_run_that_fails_does_not_stop_the_other(
    datasets: Datasets, expected: list[dict[str, bytes]]
) -> None:
    table = candidates([2, 2], query_id=["a", "b", "a", "b"])
    faulty = write(table, datasets.folder / "faulty.parquet")
    async with (
        FakeReranker(latency_s=0.02) as fake,
        Session(datasets.settings(fake), "key") as session,
    ):
        failed, _, _ = await side_by_side(
            datasets.rerank(session, faulty),
            datasets.rerank(session, datasets.first),
            datasets.rerank(session, datasets.second),
        )

    assert isinstance(failed, InputError)
    assert last_record(datasets.output(faulty))["state"] == "failed"
    assert datasets.results() == expected
    assert not is_held(locate(str(datasets.output(faulty))))


async def test_a_run_that_is_stopped_does_not_stop_the_other(
    datasets: Datasets, expected: list[dict[str, bytes]]
) -> None:
    async with (
        FakeReranker(latency_s=0.1) as fake,
        Session(datasets.settings(fake, pace=Pace(max_in_flight=4)), "key") as session,
    ):
        run = datasets.run(session, datasets.first)

        async def stop_soon() -> RunSummary:
            await reached(lambda: len(fake.calls) >= 6)
            run.stop(signal.SIGTERM)
            return run.snapshot()

        stopped, whole, _ = await side_by_side(
            run.run(), datasets.rerank(session, datasets.second), stop_soon()
        )
        assert isinstance(stopped, Interrupted)
        assert isinstance(whole, RunSummary)
        assert last_record(datasets.output(datasets.first))["state"] == "interrupted"

        await datasets.rerank(session, datasets.first)

    assert datasets.results() == expected
    assert len(fake.calls) == ALL_REQUESTS


async def test_a_run_whose_task_is_cancelled_frees_its_output_and_leaves_the_other_alone(
    datasets: Datasets, expected: list[dict[str, bytes]]
) -> None:
    async with (
        FakeReranker(latency_s=0.1) as fake,
        Session(datasets.settings(fake, pace=Pace(max_in_flight=4)), "key") as session,
    ):
        async with asyncio.TaskGroup() as tasks:
            cancelled = tasks.create_task(datasets.rerank(session, datasets.first))
            whole = tasks.create_task(datasets.rerank(session, datasets.second))
            await reached(lambda: len(fake.calls) >= 6)
            cancelled.cancel()
        assert cancelled.cancelled()
        assert whole.result().state == "done"
        assert_free(datasets)

        await datasets.rerank(session, datasets.first)

    assert datasets.results() == expected


async def test_stopping_the_session_drains_both(datasets: Datasets) -> None:
    async with FakeReranker(*["hang"] * 8) as fake:
        settings = datasets.settings(fake, pace=Pace(max_in_flight=8))
        async with Session(settings, "key") as session:

            async def stop_soon() -> RunSummary:
                await reached(lambda: len(fake.calls) == 8)
                session.stop(signal.SIGTERM)
                assert session.is_stopping
                fake.release()
                raise InputError("nothing")

            outcomes = await side_by_side(
                datasets.rerank(session, datasets.first),
                datasets.rerank(session, datasets.second),
                stop_soon(),
            )
            with pytest.raises(Interrupted):
                await datasets.rerank(session, datasets.first)

        assert [type(outcome) for outcome in outcomes[:2]] == [Interrupted, Interrupted]
        assert len(fake.calls) == 8
        for given in (datasets.first, datasets.second):
            assert last_record(datasets.output(given))["exit_code"] == 143
        assert_free(datasets)
        async with Session(settings, "key") as session:
            await datasets.rerank(session, datasets.first)
            await datasets.rerank(session, datasets.second)

    assert len(fake.calls) == ALL_REQUESTS, "all that was in flight is saved"


@pytest.mark.parametrize(
    ("script", "how", "error"),
    [
        ([200, 200, 401], {}, ServiceRefused),
        ([], {"max_cost_usd": 0.000_05}, CostLimitReached),
    ],
    ids=["refusal", "budget"],
)
async def test_an_error_of_the_service_or_the_budget_ends_both(
    datasets: Datasets, script: list[int], how: dict[str, Any], error: type[RerankError]
) -> None:
    async with FakeReranker(*script) as fake:
        settings = datasets.settings(fake, pace=Pace(max_in_flight=2), **how)
        async with Session(settings, "key") as session:
            outcomes = await side_by_side(
                datasets.rerank(session, datasets.first), datasets.rerank(session, datasets.second)
            )
            (later,) = await side_by_side(datasets.rerank(session, datasets.second))

    assert {type(outcome) for outcome in (*outcomes, later)} == {error}
    assert_free(datasets)


async def test_a_run_again_in_one_session_counts_what_was_spent_once(datasets: Datasets) -> None:
    async with FakeReranker() as fake:
        settings = datasets.settings(fake, max_cost_usd=1.0)
        async with Session(settings, "key") as session:
            first = await datasets.rerank(session, datasets.first)
            again = await datasets.rerank(session, datasets.first)
            spent_usd = session.budget.shared.spent_usd
        async with Session(settings, "key") as later:
            await datasets.rerank(later, datasets.first)

    assert again.cost_usd == 0 < first.cost_usd == pytest.approx(spent_usd)
    assert again.all_runs_usd == pytest.approx(spent_usd)
    assert later.budget.shared.spent_usd == pytest.approx(spent_usd)


async def test_without_a_common_store_each_output_has_its_own(datasets: Datasets) -> None:
    async with (
        FakeReranker() as fake,
        Session(datasets.settings(fake, score_store=None), "key") as session,
    ):
        await datasets.rerank(session, datasets.first)
        await datasets.rerank(session, datasets.second)

    assert len(fake.calls) == len(SIZES) + len(OTHER_SIZES)
    for given in (datasets.first, datasets.second):
        assert list((datasets.output(given) / "_scores").iterdir())


async def test_a_store_that_cannot_be_written_is_an_error_of_the_session(
    datasets: Datasets,
) -> None:
    elsewhere = datasets.folder / "elsewhere"
    elsewhere.write_text("not a folder")
    async with FakeReranker() as fake:
        settings = datasets.settings(fake, score_store=str(elsewhere))

        with pytest.raises(SettingsError, match="elsewhere: the score store cannot be written"):
            async with Session(settings, "key"):
                pass


async def test_a_pace_file_holds_for_its_run_and_not_for_the_next(datasets: Datasets) -> None:
    slow = datasets.output(datasets.first)
    slow.mkdir()
    (slow / "_pace.json").write_text(json.dumps({"max_in_flight": 1}))
    settings = {"pace": Pace(max_in_flight=4), "score_store": None}
    async with FakeReranker(latency_s=0.01) as fake:
        async with Session(datasets.settings(fake, **settings), "key") as session:
            await datasets.rerank(session, datasets.first)
            fake.max_in_flight = 0
            await datasets.rerank(session, datasets.second)

    assert fake.max_in_flight == 4


async def test_a_pause_ends_with_the_run_whose_pace_file_said_so(datasets: Datasets) -> None:
    paused = datasets.output(datasets.first)
    paused.mkdir()
    (paused / "_pace.json").write_text(json.dumps({"requests_per_minute": 0}))
    async with FakeReranker() as fake, Session(datasets.settings(fake), "key") as session:
        run = datasets.run(session, datasets.first)
        running = asyncio.create_task(run.run())
        await reached(lambda: session.is_paused)
        run.stop(signal.SIGTERM)
        with pytest.raises(Interrupted):
            await running

        assert not session.is_paused


async def test_two_runs_on_one_output_are_never_side_by_side(datasets: Datasets) -> None:
    async with FakeReranker(latency_s=0.1) as fake:
        async with Session(datasets.settings(fake), "key") as session:
            outcomes = await side_by_side(
                datasets.rerank(session, datasets.first), datasets.rerank(session, datasets.first)
            )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["OutputBusy", "RunSummary"]
    assert OutputBusy.exit_code == 6


def refuse_poison(body: dict[str, Any]) -> Reply:
    """Refuse a request that holds the poisoned document."""
    if "poison" in body["input"]["documents"]:
        return Reply(400, {"code": "DataInspectionFailed", "message": "inappropriate content"})
    return Reply(200, served(body))


async def test_too_many_rejects_are_an_error_of_the_run_which_has_its_summary(
    datasets: Datasets,
) -> None:
    groups(SIZES, datasets.first, texts={(3, 1): "poison"})
    async with FakeReranker(*[refuse_poison] * 30) as fake:
        settings = datasets.settings(fake)
        async with Session(settings, "key") as session:
            run = datasets.run(session, datasets.first)
            with pytest.raises(TooManyRejects, match="first-out/_rejects: candidates without"):
                await run.run()

            assert run.snapshot().state == "partial"
            assert run.snapshot().rejected == 1
            fake.script.clear()
            repaired = await datasets.rerank(session, datasets.first)

    assert (repaired.state, repaired.rejected) == ("done", 0)
