"""Equal requests are paid once, whatever run sends them and whenever."""

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pytest
from msgspec.structs import replace

from pipeline.core.errors import Interrupted, RerankError, Transient
from pipeline.core.records import Request, Scores
from pipeline.core.stop import StopSwitch
from pipeline.dataset.cached_scorer import CachedScorer, KnownScores, SharedScores
from pipeline.score_store.store import ScoreStore
from pipeline.service.metrics import Metrics
from pipeline.storage.location import locate


def make_request(name: str = "q") -> Request:
    return Request(
        query=name,
        documents=["a", "b"],
        tokens=10,
        key=name.encode().ljust(24, b"."),
        scope=bytes(24),
        query_id=name,
    )


@dataclass
class Service:
    """Answers once `go` is set; fails as often as `failures` says."""

    failures: int = 0
    asked: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def score(self, request: Request) -> Scores:
        self.asked.append(request.query)
        await self.go.wait()
        if self.failures:
            self.failures -= 1
            raise Transient("unavailable")
        return Scores(np.array([0.5, 0.25]), 10, "id")


@dataclass
class Run:
    """A run that asks for scores."""

    scores: SharedScores
    service: Service
    metrics: Metrics = field(default_factory=Metrics)
    stop_switch: StopSwitch = field(default_factory=StopSwitch)

    def __post_init__(self) -> None:
        self.scorer = CachedScorer(self.scores, self.service.score, self.metrics, self.stop_switch)

    async def look_up(self) -> KnownScores:
        return await self.scorer.look_up([make_request().key])

    async def ask(self, known: KnownScores) -> list[float] | RerankError:
        try:
            return (await self.scorer.ask(make_request(), known)).scores.tolist()
        except RerankError as error:
            return error


@pytest.fixture
async def scores(tmp_path):
    async with ScoreStore(locate(str(tmp_path))) as store:
        yield SharedScores(store)


async def test_two_groups_that_ask_the_same_at_once_pay_once(scores):
    run = Run(scores, Service())
    known = await run.look_up()

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(run.ask(known)) for _ in range(2)]
        await asyncio.sleep(0)
        run.service.go.set()

    assert run.service.asked == ["q"]
    assert run.metrics.requests_reused == 1
    assert [task.result() for task in asked] == [[0.5, 0.25]] * 2


async def test_two_runs_that_share_a_store_pay_once_and_count_apart(scores):
    service = Service()
    runs = [Run(scores, service), Run(scores, service)]
    known = [await run.look_up() for run in runs]

    async with asyncio.TaskGroup() as tasks:
        for run, known_to_run in zip(runs, known, strict=True):
            tasks.create_task(run.ask(known_to_run))
        await asyncio.sleep(0)
        service.go.set()

    assert service.asked == ["q"]
    assert [run.metrics.requests_reused for run in runs] == [0, 1]


async def test_equal_requests_are_paid_once_though_each_must_look_into_a_file_first(scores):
    similar = replace(make_request("another"), key=make_request().key[:8] + b"theotherendofthe")
    await scores.store.save(similar, Scores(np.array([1.0, 2.0]), 10, "id"))
    await scores.store.flush()
    run = Run(scores, Service())
    run.service.go.set()

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(run.ask(KnownScores({}))) for _ in range(8)]

    assert run.service.asked == ["q"]
    assert run.metrics.requests_reused == 7
    assert [task.result() for task in asked] == [[0.5, 0.25]] * 8


async def test_an_answer_is_known_to_all_who_looked_for_it_before_it_came(scores):
    run = Run(scores, Service())
    run.service.go.set()
    first, second = await run.look_up(), await run.look_up()

    await run.ask(first)
    await run.ask(second)

    assert run.service.asked == ["q"]
    assert run.metrics.requests_reused == 1


async def test_a_request_whose_equal_failed_is_asked_for_itself(scores):
    run = Run(scores, Service(failures=1))
    known = await run.look_up()

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(run.ask(known)) for _ in range(3)]
        await asyncio.sleep(0)
        run.service.go.set()

    failed, *others = [task.result() for task in asked]
    assert isinstance(failed, Transient)
    assert others == [[0.5, 0.25]] * 2
    assert run.service.asked == ["q", "q"]


async def test_a_run_that_is_stopped_does_not_wait_for_the_request_of_another(scores):
    service = Service()
    asking, waiting = Run(scores, service), Run(scores, service)
    known = await asking.look_up()

    async with asyncio.TaskGroup() as tasks:
        in_flight = tasks.create_task(asking.ask(known))
        await asyncio.sleep(0)
        stopped = tasks.create_task(waiting.ask(known))
        await asyncio.sleep(0)
        waiting.stop_switch.stop(Interrupted(15))
        assert isinstance(await stopped, Interrupted)
        assert not in_flight.done()
        service.go.set()

    assert in_flight.result() == [0.5, 0.25]


async def test_a_request_that_nobody_looked_up_is_found_in_the_store(scores):
    run = Run(scores, Service())
    run.service.go.set()
    await run.ask(await run.look_up())
    await scores.store.flush()

    assert await run.ask(KnownScores({})) == [0.5, 0.25]
    assert run.service.asked == ["q"]
