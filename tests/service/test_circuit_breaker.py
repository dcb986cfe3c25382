"""An outage is not a verdict; a request that fails alone is no outage."""

import asyncio
import logging

import pytest
from support.client_bench import a_request, client_on, outcomes, score_all
from support.fake_transport import FakeTransport, served
from support.virtual_clock import on_virtual_clock

from pipeline.core.backoff import Backoff
from pipeline.core.errors import (
    BadAnswer,
    OutageTooLong,
    RerankError,
    Throttled,
    Transient,
)
from pipeline.core.records import Request, Scores
from pipeline.core.settings import Pace
from pipeline.service.circuit_breaker import CircuitBreaker
from pipeline.service.endpoint import RetryPolicy
from pipeline.service.failures import CONNECTION_LOST, UNREACHABLE

DOWN = Transient("ModelUnavailable", status=503)
FAILED = Transient("InternalError", status=500)


def policy(**more: int) -> RetryPolicy:
    return RetryPolicy(backoff=Backoff(1.0, 20.0), **more)


@pytest.mark.parametrize(
    "failure", [FAILED, DOWN, Transient("http_502", status=502), Transient(CONNECTION_LOST)]
)
@on_virtual_clock
async def test_in_an_outage_no_attempt_is_spent(failure) -> None:
    b = client_on(FakeTransport(*[failure] * 40), policy=policy(max_attempts=3))

    results = await score_all(b.client, 20)

    assert not [result for result in results if isinstance(result, RerankError)]
    assert b.metrics.answered == 20


@pytest.mark.parametrize(
    "failure",
    [*(Transient("x", status=status) for status in (502, 503, 504)), Transient(UNREACHABLE)],
)
@on_virtual_clock
async def test_a_service_that_says_it_is_down_is_believed_by_a_lone_request(failure) -> None:
    b = client_on(FakeTransport(*[failure] * 30), policy=policy(max_attempts=1))

    scores = await b.client.score(a_request())

    assert len(scores.scores) == 3


@on_virtual_clock
async def test_one_probe_at_a_time_is_sent_and_each_waits_longer() -> None:
    transport = FakeTransport(*[DOWN] * 40)
    b = client_on(transport)

    await score_all(b.client, 10)

    assert transport.gaps_s[:9] == pytest.approx([0] * 9, abs=0.01)
    assert transport.gaps_s[9:15] == pytest.approx([1, 2, 4, 8, 15, 15], abs=0.01)
    assert b.metrics.requests == 40 + 10


@on_virtual_clock
async def test_those_that_wait_in_line_when_the_outage_begins_are_not_sent() -> None:
    transport = FakeTransport(*[DOWN] * 15)
    b = client_on(transport, pace=Pace(max_in_flight=1))

    await score_all(b.client, 20)

    # Ten failures began it, five probes failed, and the sixth was answered.
    assert transport.gaps_s[9:15] == pytest.approx([1, 2, 4, 8, 15, 15], abs=0.01)
    assert b.metrics.requests == 15 + 20


@on_virtual_clock
async def test_a_request_that_fails_while_others_succeed_is_no_outage() -> None:
    def answer(request: Request) -> Scores:
        if request.query == "query 0":
            raise Transient("InternalError.Algo", status=500)
        return served(request)

    b = client_on(FakeTransport(*[answer] * 1_000))

    failed, *others = await score_all(b.client, 50)

    assert isinstance(failed, Transient)
    assert not [result for result in others if isinstance(result, RerankError)]


@on_virtual_clock
async def test_a_lone_request_that_breaks_the_service_is_given_up() -> None:
    b = client_on(FakeTransport(*[FAILED] * 10), policy=policy(max_attempts=3))

    with pytest.raises(Transient):
        await b.client.score(a_request())

    assert b.metrics.requests == 3


@pytest.mark.parametrize("failure", [DOWN, Throttled("Throttling")])
@on_virtual_clock
async def test_an_outage_without_end_ends_the_job_when_its_time_is_over(failure) -> None:
    b = client_on(FakeTransport(*[failure] * 10_000), policy=policy(max_outage_s=600))

    results = await outcomes(b.client.score(a_request(number)) for number in range(5))

    assert {type(result) for result in results} == {OutageTooLong}
    assert 600 <= asyncio.get_running_loop().time() <= 661  # pauses are up to a minute apart


@on_virtual_clock
async def test_an_outage_is_logged_once_at_its_beginning_and_its_end(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        await client_on(FakeTransport(*[DOWN] * 5)).client.score(a_request())

    down, back = [
        record for record in caplog.records if record.name == "pipeline.service.circuit_breaker"
    ]
    assert down.event == "service.down"
    assert down.fields == {"code": "ModelUnavailable", "max_outage_s": 600}
    assert back.event == "service.back"
    assert back.fields == {"probes": 5}


def test_probes_of_an_outage_without_end_stay_quarter_of_a_minute_apart() -> None:
    circuit = CircuitBreaker(1e9, lambda: 0.0)

    waits_s = [circuit.next_wait_s() for _ in range(2_000)]

    assert waits_s[:5] == [1.0, 2.0, 4.0, 8.0, 15.0]
    assert waits_s[-1] == 15.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def circuit_after_failures(count: int, clock: Clock, status: int = 500) -> CircuitBreaker:
    circuit = CircuitBreaker(600, clock)
    for number in range(count):
        circuit.record_failure(number, Transient("x", status=status), concurrency=64, last=False)
    return circuit


def test_some_failures_among_many_requests_are_no_outage() -> None:
    assert not circuit_after_failures(9, Clock()).is_open
    assert circuit_after_failures(10, Clock()).is_open


@pytest.mark.parametrize("error", [Throttled("x"), BadAnswer("x")])
def test_the_circuit_closes_with_any_answer(error) -> None:
    circuit = circuit_after_failures(10, Clock())

    circuit.record_failure(0, error, concurrency=1, last=False)

    assert not circuit.is_open


def test_the_outage_is_counted_from_its_first_failure() -> None:
    clock = Clock()
    circuit = circuit_after_failures(10, clock)
    down = Transient("x", status=503)

    clock.now = 599
    circuit.record_failure(0, down, concurrency=1, last=False)
    clock.now = 600
    with pytest.raises(OutageTooLong, match="served nothing for 600 s"):
        circuit.record_failure(0, down, concurrency=1, last=False)


def test_a_success_forgets_the_trouble() -> None:
    clock = Clock()
    circuit = circuit_after_failures(10, clock)
    circuit.record_success()
    clock.now = 1_000

    circuit.record_failure(0, Transient("x", status=503), concurrency=1, last=False)

    assert circuit.is_open


def test_the_snapshot_and_the_repr_show_the_state() -> None:
    clock = Clock()
    circuit = circuit_after_failures(10, clock)
    circuit.next_wait_s()
    clock.now = 12.5

    state = circuit.snapshot()

    assert state.is_open
    assert (state.failed_requests, state.probes, state.trouble_s) == (10, 1, 12.5)
    assert repr(circuit) == "<CircuitBreaker open failed_requests=10 probes=1 trouble_s=12.5>"
    circuit.record_success()
    assert repr(circuit) == "<CircuitBreaker closed failed_requests=0 probes=0 trouble_s=0.0>"
