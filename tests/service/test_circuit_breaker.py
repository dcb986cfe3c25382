"""An outage is no verdict on a request, and a request that fails alone is no outage."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from support.client_bench import a_request, client_on, outcomes, score_all
from support.fake_transport import HANG, FakeTransport, Step, served
from support.virtual_clock import on_virtual_clock

from pipeline.core.backoff import Backoff
from pipeline.core.errors import (
    BadAnswer,
    ContentRefused,
    IncompleteAnswer,
    Interrupted,
    OutageTooLong,
    Rejected,
    RequestError,
    RerankError,
    ServiceRefused,
    Throttled,
    TooLarge,
    Transient,
)
from pipeline.core.records import Request, Scores
from pipeline.core.settings import Pace
from pipeline.service.circuit_breaker import AttemptFailed, CircuitBreaker
from pipeline.service.client import RerankClient
from pipeline.service.endpoint import RetryPolicy
from pipeline.service.failures import (
    CONNECTION_LOST,
    TIMEOUT,
    UNREACHABLE,
    UNREADABLE,
    UNTRUSTED,
)
from pipeline.service.metrics import Metrics
from pipeline.service.outage_timer import OutageTimer
from pipeline.service.witness import TINY

DOWN = Transient("ModelUnavailable", status=503)
FAILED = Transient("InternalError", status=500)
NO_SCORES = BadAnswer("not_json", "a page of HTML or XML", status=200)

OUTAGES: list[RequestError] = [
    *(Transient(f"http_{status}", status=status) for status in (500, 502, 503, 504, 408)),
    *(Transient(code) for code in (CONNECTION_LOST, TIMEOUT, UNREACHABLE, UNREADABLE)),
]
ANSWERS_OF_ANOTHER: list[RequestError] = [
    NO_SCORES,
    BadAnswer("no_results", "no list of results", status=200),
    Rejected("http_410", status=410),
    Rejected("InvalidParameter", "required body invalid", status=400),
    ContentRefused("InvalidParameter", status=400),
    TooLarge("http_413", status=413),
]
REFUSING_ALL: list[RequestError] = [
    *(Rejected(f"http_{status}", status=status) for status in (302, 401, 402, 404, 405)),
    ContentRefused("http_403", status=403),
    Transient(UNTRUSTED),
]


def named(error: RequestError) -> str:
    return f"{type(error).__name__}-{error.code}"


def policy(**more: float) -> RetryPolicy:
    return RetryPolicy(backoff=Backoff(1.0, 20.0), **more)  # type: ignore[arg-type]


def now() -> float:
    return asyncio.get_running_loop().time()


def failing_until(end_s: float, error: RerankError) -> Callable[[Request], Scores | RerankError]:
    """Return a service that fails so until that time, for every request."""

    def answer(request: Request) -> Scores | RerankError:
        return served(request) if now() >= end_s else error

    return answer


def poisoned(*numbers: int, error: RerankError = FAILED) -> Step:
    """Return a service that always fails so for some requests, and serves all others."""
    queries = {f"query {number}" for number in numbers}
    return lambda request: error if request.query in queries else served(request)


def failures(results: list[Scores | RerankError]) -> list[RerankError]:
    return [result for result in results if isinstance(result, RerankError)]


def real_attempts(transport: FakeTransport) -> Counter[object]:
    """How often each request was sent, by query."""
    return Counter(str(query) for query in transport.queries if query != TINY.query)


# --- An outage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", OUTAGES, ids=named)
@pytest.mark.parametrize("count", [1, 2, 3, 50])
@pytest.mark.parametrize("served_before", [0, 1])
@on_virtual_clock
async def test_in_an_outage_no_attempt_is_spent(failure, count, served_before) -> None:
    transport = FakeTransport(*[served] * served_before, otherwise=failing_until(25, failure))
    b = client_on(transport, policy=policy(max_attempts=1))
    await score_all(b.client, served_before)

    results = await score_all(b.client, count)

    assert not failures(results)
    assert now() < 25 + 11, "the probes are at most 10 s apart"
    assert not b.endpoint.circuit.is_open


@pytest.mark.parametrize("failure", [*ANSWERS_OF_ANOTHER, *REFUSING_ALL], ids=named)
@pytest.mark.parametrize("count", [1, 3, 50])
@on_virtual_clock
async def test_a_login_page_for_a_while_is_an_outage_once_the_service_was_up(
    failure, count
) -> None:
    transport = FakeTransport(served, otherwise=failing_until(60, failure))
    b = client_on(transport, policy=policy(max_attempts=1))
    await b.client.score(a_request(1_000))

    results = await score_all(b.client, count)

    assert not failures(results)
    assert now() >= 60


@on_virtual_clock
async def test_one_witness_at_a_time_is_sent_at_most_ten_seconds_apart() -> None:
    transport = FakeTransport(otherwise=failing_until(100, DOWN))
    b = client_on(transport)

    await score_all(b.client, 30)

    sent = transport.witnesses
    waits = [after.at - before.at for before, after in pairwise(sent)]
    assert waits == pytest.approx([1, 2, 4, 8, *[10] * (len(waits) - 4)], abs=0.01)
    assert sum(real_attempts(transport).values()) == 8 + 30


@on_virtual_clock
async def test_those_that_wait_in_line_when_the_outage_begins_hold_up_no_witness() -> None:
    """One request a minute passes, and twenty wait for that pace."""
    transport = FakeTransport(served, otherwise=failing_until(300, DOWN))
    pace = Pace(requests_per_minute=60, max_in_flight=100)
    b = client_on(transport, pace=pace, policy=policy(max_attempts=1))
    await b.client.score(a_request(1_000))

    results = await score_all(b.client, 100)

    assert not failures(results)
    down = [sent.at for sent in transport.sent if 30 < sent.at < 300]
    assert max(after - before for before, after in pairwise(down)) < 10.1


@on_virtual_clock
async def test_what_was_in_flight_when_the_service_went_down_spends_no_attempt() -> None:
    """The service ends the requests that it has, and refuses new ones, as it restarts."""
    slow: Step = lambda request: served(request)  # noqa: E731
    transport = FakeTransport(served, slow, otherwise=failing_until(9, DOWN), latency_s=2.0)
    b = client_on(transport, policy=policy(max_attempts=1))
    await b.client.score(a_request(1_000))

    results = await score_all(b.client, 5)

    assert not failures(results)


@on_virtual_clock
async def test_the_longer_outage_of_a_service_that_flickers_spends_no_attempt_either() -> None:
    def flickering(request: Request) -> Scores | RerankError:
        return served(request) if int(now()) % 7 == 0 else DOWN

    b = client_on(FakeTransport(otherwise=flickering), policy=policy(max_attempts=1))

    assert not failures(await score_all(b.client, 300))


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("failure", [DOWN, Throttled("Throttling"), NO_SCORES], ids=named)
@on_virtual_clock
async def test_an_outage_without_end_ends_the_job_when_its_time_is_over(failure, count) -> None:
    transport = FakeTransport(served, otherwise=failure)
    b = client_on(transport, policy=policy(max_outage_s=600))
    await b.client.score(a_request(1_000))

    results = await score_all(b.client, count)

    assert {type(result) for result in results} == {OutageTooLong}
    assert now() == pytest.approx(600, abs=0.1)


@on_virtual_clock
async def test_clients_of_one_endpoint_all_end_when_its_time_is_over() -> None:
    b = client_on(FakeTransport(otherwise=DOWN), policy=policy(max_outage_s=60))
    other = RerankClient(b.endpoint, metrics=Metrics())

    results = await outcomes([b.client.score(a_request(1)), other.score(a_request(2))])

    assert [type(result) for result in results] == [OutageTooLong] * 2


@on_virtual_clock
async def test_an_outage_is_logged_once_at_its_beginning_and_its_end(caplog) -> None:
    transport = FakeTransport(otherwise=failing_until(25, Transient("x", "why", status=503)))
    with caplog.at_level(logging.WARNING):
        await client_on(transport).client.score(a_request())

    down, back = [
        record for record in caplog.records if record.name == "pipeline.service.circuit_breaker"
    ]
    assert down.event == "service.down"
    assert down.fields == {"code": "x", "message": "why", "max_outage_s": 600}
    assert back.event == "service.back"
    assert back.fields == {"probes": len(transport.witnesses) - 1}


@on_virtual_clock
async def test_a_stop_ends_the_wait_for_the_end_of_an_outage_at_once() -> None:
    b = client_on(FakeTransport(otherwise=DOWN))
    asyncio.get_running_loop().call_later(100, b.client.stop, Interrupted(15))

    results = await score_all(b.client, 20)

    assert {type(result) for result in results} == {Interrupted}
    assert now() == pytest.approx(100, abs=0.1)


@on_virtual_clock
async def test_a_cancelled_prober_is_followed_by_another() -> None:
    b = client_on(FakeTransport(otherwise=failing_until(50, DOWN)))

    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(b.client.score(a_request(number))) for number in range(3)]
        await asyncio.sleep(20)
        calls[0].cancel()
        calls[1].cancel()

    assert len(calls[2].result().scores) == 3


# --- A failure of one request --------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, 300])
@pytest.mark.parametrize("error", [FAILED, DOWN, NO_SCORES, Transient(TIMEOUT)], ids=named)
@on_virtual_clock
async def test_a_request_that_always_fails_among_served_ones_is_sent_so_many_times(
    error, count
) -> None:
    transport = FakeTransport(otherwise=poisoned(0, error=error), latency_s=0.3)
    b = client_on(transport, pace=Pace(max_in_flight=16))

    failed, *others = await score_all(b.client, count)

    assert type(failed) is type(error)
    assert not failures(others)
    assert real_attempts(transport)["query 0"] == 5
    assert len(transport.sent) <= count + 4 + 5, "and a witness for each, at most"
    assert not b.endpoint.circuit.is_open


@pytest.mark.parametrize("error", [ContentRefused, Rejected, TooLarge])
@pytest.mark.parametrize("count", [1, 300])
@on_virtual_clock
async def test_a_refusal_of_one_request_among_served_ones_is_a_verdict(error, count) -> None:
    transport = FakeTransport(otherwise=poisoned(0, error=error("x", status=400)), latency_s=0.3)
    b = client_on(transport, pace=Pace(max_in_flight=16))

    refused, *others = await score_all(b.client, count)

    assert type(refused) is error
    assert not failures(others)
    assert real_attempts(transport)["query 0"] == 1


@pytest.mark.parametrize("status", [101, 304, 302, 401, 404, 410])
@on_virtual_clock
async def test_a_status_that_says_nothing_of_the_request_is_no_verdict(status) -> None:
    """A login page for a moment, while other requests are still served."""
    error = Rejected(f"http_{status}", status=status)
    transport = FakeTransport(served, error, otherwise=served, latency_s=0.1)
    b = client_on(transport, pace=Pace(max_in_flight=2))
    await b.client.score(a_request(1_000))

    assert not failures(await score_all(b.client, 10))
    assert len(transport.sent) == 12


@pytest.mark.parametrize("latency_s", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("error", [FAILED, ContentRefused("x", status=400)], ids=named)
@on_virtual_clock
async def test_many_poisoned_requests_at_the_beginning_are_no_outage(error, latency_s) -> None:
    transport = FakeTransport(otherwise=poisoned(*range(40), error=error), latency_s=latency_s)
    b = client_on(transport, policy=policy(max_attempts=2))

    results = await score_all(b.client, 100)

    assert [type(result) for result in results] == [type(error)] * 40 + [Scores] * 60
    attempts = real_attempts(transport)
    assert max(attempts[f"query {number}"] for number in range(40)) <= 2
    assert sum(attempts.values()) + len(transport.witnesses) <= 40 * 2 + 60 + 80


@on_virtual_clock
async def test_failures_of_half_of_all_requests_cost_a_busy_run_few_witnesses() -> None:
    transport = FakeTransport(otherwise=poisoned(*range(0, 600, 2)), latency_s=0.3)
    b = client_on(transport, pace=Pace(max_in_flight=32), policy=policy(max_attempts=2))

    results = await score_all(b.client, 600)

    assert len(failures(results)) == 300
    assert len(transport.sent) < 300 + 2 * 300 + 30


@pytest.mark.parametrize("error", [FAILED, ContentRefused("x", status=400)], ids=named)
@on_virtual_clock
async def test_a_failure_counts_once_a_request_sent_after_it_is_served(error) -> None:
    """Other requests show that the service is up, so no witness is needed."""
    transport = FakeTransport(served, error, otherwise=served, latency_s=0.1)
    b = client_on(transport, policy=policy(max_attempts=1), pace=Pace(max_in_flight=2))
    await b.client.score(a_request(1_000))

    results = await score_all(b.client, 10)

    assert [type(result) for result in results] == [type(error)] + [Scores] * 9
    assert len(transport.sent) == 11


@on_virtual_clock
async def test_an_incomplete_answer_shows_that_the_service_scores() -> None:
    incomplete = IncompleteAnswer(np.array([0.5, np.nan, 0.1]))
    transport = FakeTransport(otherwise=incomplete)
    b = client_on(transport)

    results = await score_all(b.client, 3)

    assert [type(result) for result in results] == [IncompleteAnswer] * 3
    assert len(transport.sent) == 15
    assert transport.witnesses == []


@on_virtual_clock
async def test_a_witness_that_is_throttled_proves_nothing() -> None:
    throttled = Throttled("Throttling")
    transport = FakeTransport(FAILED, *[throttled] * 3, served, served)
    b = client_on(transport, policy=policy(max_attempts=2))

    scores = await b.client.score(a_request())

    assert len(scores.scores) == 3
    assert [sent.request is TINY for sent in transport.sent] == [False, *[True] * 4, False]
    assert b.metrics.retries == 1


@on_virtual_clock
async def test_a_witness_that_hangs_holds_up_nobody_else() -> None:
    transport = FakeTransport(served, FAILED, HANG, latency_s=0.1)
    b = client_on(transport, policy=policy(max_attempts=1))
    await b.client.score(a_request(1_000))

    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(score_all(b.client, 1))
        await asyncio.sleep(0.25)
        others = await score_all(b.client, 9)
        transport.release()

    assert not failures(others)
    assert failures(call.result())


# --- A wrong service -----------------------------------------------------------------------------


@pytest.mark.parametrize("error", ANSWERS_OF_ANOTHER, ids=named)
@pytest.mark.parametrize("count", [1, 2, 3, 300])
@on_virtual_clock
async def test_a_service_that_never_gives_scores_is_refused_within_ten_requests(
    error, count
) -> None:
    transport = FakeTransport(otherwise=error, latency_s=0.2)
    b = client_on(transport)

    results = await score_all(b.client, count)

    assert {type(result) for result in results} == {ServiceRefused}
    assert len(transport.sent) <= 10
    assert now() < 10
    message = str(results[0])
    assert "--url and --provider" in message
    assert f"HTTP {error.status}, {error.code}" in message


@pytest.mark.parametrize("error", REFUSING_ALL, ids=named)
@pytest.mark.parametrize("count", [1, 300])
@on_virtual_clock
async def test_a_status_that_refuses_everything_is_believed_once_the_witness_has_it_too(
    error, count
) -> None:
    transport = FakeTransport(otherwise=error)
    b = client_on(transport)

    results = await score_all(b.client, count)

    assert {type(result) for result in results} == {ServiceRefused}
    assert len(transport.sent) <= 9


@pytest.mark.parametrize("error", REFUSING_ALL[:-1], ids=named)
@on_virtual_clock
async def test_a_firewall_that_refuses_one_request_ends_no_run(error) -> None:
    transport = FakeTransport(otherwise=poisoned(0, error=error))
    b = client_on(transport)

    refused, *others = await score_all(b.client, 3)

    assert type(refused) is type(error)
    assert not failures(others)


@on_virtual_clock
async def test_an_outage_at_the_beginning_is_no_wrong_service() -> None:
    def starting(request: Request) -> Scores | RerankError:
        if now() < 3:
            return NO_SCORES
        return DOWN if now() < 120 else served(request)

    b = client_on(FakeTransport(otherwise=starting))

    assert not failures(await score_all(b.client, 1))


@on_virtual_clock
async def test_while_nothing_was_ever_served_few_requests_are_in_flight() -> None:
    transport = FakeTransport(latency_s=1.0)
    b = client_on(transport, pace=Pace(max_in_flight=100))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(score_all(b.client, 100))
        await asyncio.sleep(0.5)
        assert transport.in_flight == 8
        await asyncio.sleep(1)
        assert transport.in_flight >= 16


# --- The state -----------------------------------------------------------------------------------


def failed(sent_at: float, failed_at: float, error: RequestError = DOWN) -> AttemptFailed:
    return AttemptFailed.of(error, sent_at, failed_at)


def a_circuit() -> CircuitBreaker:
    return CircuitBreaker(OutageTimer(600, now))


@on_virtual_clock
async def test_only_a_success_that_was_sent_after_a_failure_decides_it() -> None:
    circuit, failure = a_circuit(), failed(1, 2)
    circuit.record_failure(failure)

    circuit.record_success(1.5, 3)
    before = failure.counts
    circuit.record_success(2, 4)

    assert before is None
    assert failure.counts is True


@on_virtual_clock
async def test_a_witness_that_fails_makes_the_failures_before_it_count_for_nothing() -> None:
    circuit, before, late = a_circuit(), failed(1, 2), failed(1, 9)
    circuit.record_failure(before)
    circuit.record_witness_failure(failed(3, 4))
    circuit.record_success(5, 6)

    circuit.record_failure(late)

    assert before.counts is False
    assert late.counts is False, "it was in flight in the outage"


@on_virtual_clock
async def test_an_answer_to_what_was_sent_before_an_outage_does_not_end_it() -> None:
    circuit = a_circuit()
    circuit.record_witness_failure(failed(3, 4))

    circuit.record_success(2, 5)
    was_open = circuit.is_open
    circuit.record_success(6, 7)

    assert was_open
    assert not circuit.is_open


@on_virtual_clock
async def test_a_witness_waits_as_long_as_a_retry_after_asks_for() -> None:
    circuit = a_circuit()
    circuit.record_success(0, 1)

    circuit.record_witness_failure(
        failed(3, 4, Transient("http_503", status=503, retry_after_s=120))
    )

    assert circuit.next_wait_s() == 120


@on_virtual_clock
async def test_the_snapshot_and_the_repr_show_the_state() -> None:
    circuit = a_circuit()
    circuit.record_failure(failed(0, 0))
    await asyncio.sleep(12.5)

    state = circuit.snapshot()

    assert not state.is_open
    assert (state.undecided, state.probes) == (1, 0)
    assert repr(circuit) == "<CircuitBreaker closed undecided=1 probes=0 trouble_s=12.5>"
    circuit.record_witness_failure(failed(1, 2))
    assert repr(circuit) == "<CircuitBreaker open undecided=0 probes=1 trouble_s=12.5>"
