"""How long nothing may be served."""

import asyncio

import numpy as np
import pytest
from support.client_bench import a_request, client_on, score_all
from support.fake_transport import FakeTransport
from support.virtual_clock import on_virtual_clock

from pipeline.core.errors import (
    OutageTooLong,
    RequestError,
    RerankError,
    ServiceRefused,
    Throttled,
    Transient,
)
from pipeline.core.records import Request, Scores
from pipeline.service.endpoint import RetryPolicy
from pipeline.service.failures import TIMEOUT, UNREACHABLE, UNTRUSTED
from pipeline.service.outage_timer import OutageTimer

DOWN = Transient("ModelUnavailable", "try later", status=503)
REFUSED = Transient(UNREACHABLE, "localhost:9: connection refused")


def now() -> float:
    return asyncio.get_running_loop().time()


def timer(given_up: list[RerankError], *, max_unreached_s: float | None = 30) -> OutageTimer:
    timer = OutageTimer(600, now, max_unreached_s=max_unreached_s)
    timer.on_give_up.add(given_up.append)
    return timer


@pytest.mark.parametrize("error", [DOWN, Throttled("busy", status=429), Transient(TIMEOUT)])
@on_virtual_clock
async def test_the_time_runs_from_the_first_failure_to_the_limit(error) -> None:
    given_up: list[RerankError] = []
    running = timer(given_up)

    running.record_failure(error)
    await asyncio.sleep(599)
    running.record_failure(error)
    before = list(given_up)
    await asyncio.sleep(2)

    assert before == []
    assert [type(error) for error in given_up] == [OutageTooLong]
    assert "served nothing for 600 s" in str(given_up[0])
    assert "at most 600 s of --max-outage" in str(given_up[0])
    assert error.code in str(given_up[0])
    assert given_up[0].__cause__ is error


@on_virtual_clock
async def test_a_success_starts_it_anew() -> None:
    given_up: list[RerankError] = []
    running = timer(given_up)

    running.record_failure(DOWN)
    await asyncio.sleep(599)
    running.record_success()
    idle_s = running.elapsed_s
    await asyncio.sleep(100)
    running.record_failure(DOWN)
    await asyncio.sleep(599)

    assert idle_s == 0
    assert given_up == []
    assert running.elapsed_s == pytest.approx(599, abs=0.01)


@on_virtual_clock
async def test_a_service_that_was_never_reached_is_given_less_time_from_the_first_attempt() -> None:
    given_up: list[RerankError] = []
    running = timer(given_up)

    await asyncio.sleep(10)
    running.record_failure(REFUSED, took_s=10)
    await asyncio.sleep(20.1)

    (error,) = given_up
    assert "could not be reached for 30 s (found localhost:9: connection refused)" in str(error)
    assert "check --url" in str(error)


@on_virtual_clock
async def test_a_service_that_was_reached_meanwhile_is_given_the_whole_time() -> None:
    given_up: list[RerankError] = []
    running = timer(given_up)

    running.record_failure(REFUSED)
    await asyncio.sleep(20)
    running.record_failure(DOWN)
    await asyncio.sleep(579)
    before = list(given_up)
    await asyncio.sleep(2)

    assert before == []
    assert len(given_up) == 1


@on_virtual_clock
async def test_a_pause_by_the_operator_is_not_counted() -> None:
    given_up: list[RerankError] = []
    paused_s = 0.0
    running = OutageTimer(600, lambda: now() - paused_s)
    running.on_give_up.add(given_up.append)

    running.record_failure(DOWN)
    await asyncio.sleep(100)
    paused_s += 1_000
    await asyncio.sleep(1_400)
    before = list(given_up)
    await asyncio.sleep(101)

    assert before == []
    assert len(given_up) == 1


@on_virtual_clock
async def test_with_a_limit_that_is_given_there_is_no_other() -> None:
    given_up: list[RerankError] = []
    timer(given_up, max_unreached_s=None).record_failure(REFUSED)

    await asyncio.sleep(599)

    assert given_up == []


@on_virtual_clock
async def test_a_wait_leaves_time_for_another_attempt() -> None:
    running = timer([])
    running.record_success()

    assert running.cut(86_400) == 540
    assert running.cut(5) == 5
    running.record_failure(DOWN)
    await asyncio.sleep(500)
    assert running.cut(86_400) == pytest.approx(90, abs=0.01)


@pytest.mark.parametrize(
    ("error", "kind", "after_s"),
    [
        (REFUSED, OutageTooLong, 30),
        (DOWN, OutageTooLong, 600),
        (Transient(UNTRUSTED), ServiceRefused, 0),
    ],
)
@pytest.mark.parametrize("count", [1, 20])
@on_virtual_clock
async def test_a_service_that_is_never_reached_ends_a_run_by_default(
    error: RequestError, kind: type[RerankError], after_s: float, count: int
) -> None:
    b = client_on(FakeTransport(otherwise=error), policy=RetryPolicy())

    results = await score_all(b.client, count)

    assert {type(result) for result in results} == {kind}
    assert now() == pytest.approx(after_s, abs=0.1)


@on_virtual_clock
async def test_a_service_that_starts_within_the_time_is_waited_for() -> None:
    def starting(request: Request) -> Scores | RerankError:
        return REFUSED if now() < 25 else Scores(np.zeros(request.num_documents))

    b = client_on(FakeTransport(otherwise=starting), policy=RetryPolicy())

    await b.client.score(a_request())

    assert now() < 30
