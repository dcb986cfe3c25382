"""The client on a fake transport: attempts, waits, verdicts, stopping."""

import asyncio
import logging
from itertools import pairwise

import numpy as np
import pytest
from support.client_bench import USD_PER_TOKEN, a_request, client_on, outcomes, score_all
from support.fake_transport import HANG, FakeTransport, billed, served
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
from pipeline.service.client import RerankClient
from pipeline.service.endpoint import RetryPolicy
from pipeline.service.failures import UNREACHABLE
from pipeline.service.metrics import Metrics
from pipeline.service.witness import TINY

FAILED = Transient("InternalError", status=500)
NONSENSE = BadAnswer("not_json", status=200)


@on_virtual_clock
async def test_an_answered_request_is_counted_with_its_price() -> None:
    transport = FakeTransport(billed(40), latency_s=0.5)
    b = client_on(transport)

    scores = await b.client.score(a_request())

    assert scores.scores.tolist() == [1, 1 / 2, 1 / 3]
    assert b.metrics.answered == b.metrics.requests == 1
    assert b.metrics.tokens == 40
    assert b.metrics.cost_usd == pytest.approx(40 * USD_PER_TOKEN)
    assert b.metrics.latency_ms()["p50"] == pytest.approx(500, rel=0.05)


@on_virtual_clock
async def test_without_usage_the_upper_bound_of_the_tokens_is_counted() -> None:
    b = client_on(FakeTransport(billed(None)))

    await b.client.score(a_request())

    assert b.metrics.tokens == a_request().tokens


@pytest.mark.parametrize("failure", [FAILED, NONSENSE])
@pytest.mark.parametrize("max_attempts", [1, 2, 5])
@on_virtual_clock
async def test_after_the_last_attempt_the_failure_is_raised(failure, max_attempts) -> None:
    transport = FakeTransport(
        otherwise=lambda request: served(request) if request is TINY else failure
    )
    policy = RetryPolicy(max_attempts=max_attempts, backoff=Backoff(1.0, 20.0))
    b = client_on(transport, policy=policy)

    with pytest.raises(type(failure)):
        await b.client.score(a_request())

    sent = [sent.at for sent in transport.sent if sent.request is not TINY]
    assert len(sent) == max_attempts
    assert sent == pytest.approx([0, 1, 3, 7, 15][:max_attempts], abs=0.01)
    assert b.metrics.retries == max_attempts - 1
    assert b.metrics.failed == max_attempts


@pytest.mark.parametrize("failure", [FAILED, NONSENSE])
@on_virtual_clock
async def test_after_a_failure_another_attempt_brings_the_scores(failure) -> None:
    b = client_on(FakeTransport(failure))

    scores = await b.client.score(a_request())

    assert len(scores.scores) == 3
    assert b.metrics.retries == 1


@on_virtual_clock
async def test_by_default_each_wait_is_a_random_part_of_the_longest() -> None:
    transport = FakeTransport(*[FAILED, served] * 4)
    b = client_on(transport, policy=RetryPolicy())

    await b.client.score(a_request())

    sent = [sent.at for sent in transport.sent if sent.request is not TINY]
    gaps_s = [after - before for before, after in pairwise(sent)]
    assert all(
        gap_s <= longest_s + 0.01 for gap_s, longest_s in zip(gaps_s, [1, 2, 4, 8], strict=True)
    )
    assert sum(gaps_s) < 14.9


@on_virtual_clock
async def test_a_429_costs_no_attempt() -> None:
    policy = RetryPolicy(max_attempts=1)
    b = client_on(FakeTransport(*[Throttled("Throttling")] * 6), policy=policy)

    scores = await b.client.score(a_request())

    assert len(scores.scores) == 3
    assert b.metrics.throttled == 6
    assert b.metrics.retries == 0


@on_virtual_clock
async def test_a_429_waits_for_retry_after_without_a_place_in_flight() -> None:
    transport = FakeTransport(Throttled("Throttling", retry_after_s=30))
    b = client_on(transport)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(b.client.score(a_request()))
        await asyncio.sleep(1)
        assert b.throttle.in_flight == 0

    assert transport.gaps_s == pytest.approx([30], abs=0.01)


@on_virtual_clock
async def test_a_retry_waits_without_a_place_in_flight() -> None:
    transport = FakeTransport(FAILED)
    b = client_on(transport, pace=Pace(max_in_flight=1))

    await score_all(b.client, 2)

    assert transport.queries == ["query 0", "query 1", "query 0"]


@on_virtual_clock
async def test_requests_that_rest_are_made_up_for_by_others() -> None:
    b = client_on(FakeTransport(FAILED), pace=Pace(max_in_flight=7))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(b.client.score(a_request()))
        await asyncio.sleep(0.5)
        while_resting = b.client.target_concurrency()

    assert while_resting == 8
    assert b.client.target_concurrency() == 7


@pytest.mark.parametrize("kind", [TooLarge, ContentRefused, Rejected])
@on_virtual_clock
async def test_a_verdict_is_raised_once_a_witness_is_served(kind) -> None:
    transport = FakeTransport(kind("refused", status=400))
    b = client_on(transport)

    with pytest.raises(kind):
        await b.client.score(a_request())

    assert [sent.request is TINY for sent in transport.sent] == [False, True]


@on_virtual_clock
async def test_a_refusal_for_good_ends_all_that_wait() -> None:
    b = client_on(FakeTransport(ServiceRefused("no key")), pace=Pace(max_in_flight=1))

    results = await score_all(b.client, 5)

    assert [type(result) for result in results] == [ServiceRefused] * 5
    assert b.metrics.requests == 1


@on_virtual_clock
async def test_stopping_lets_what_is_in_flight_finish_and_refuses_the_rest() -> None:
    transport = FakeTransport(HANG)
    b = client_on(transport, pace=Pace(max_in_flight=1))

    async with asyncio.TaskGroup() as tasks:
        calls = tasks.create_task(score_all(b.client, 2))
        await asyncio.sleep(1)
        b.client.stop(Interrupted(15))
        await asyncio.sleep(1)
        assert b.throttle.in_flight == 1
        transport.release()
    in_flight, waiting = calls.result()

    assert not isinstance(in_flight, BaseException)
    assert isinstance(waiting, Interrupted)
    assert b.throttle.in_flight == 0
    with pytest.raises(Interrupted):
        await b.client.score(a_request(3))
    assert b.metrics.requests == 1


@on_virtual_clock
async def test_only_the_first_stop_counts() -> None:
    b = client_on(FakeTransport())
    b.client.stop(Interrupted(2))
    b.client.stop(Interrupted(15))

    with pytest.raises(Interrupted) as caught:
        await b.client.score(a_request())

    assert caught.value.exit_code == 130


@on_virtual_clock
async def test_stopping_cuts_a_wait_for_another_attempt_short() -> None:
    policy = RetryPolicy(backoff=Backoff(1_000.0, 1_000.0))
    b = client_on(FakeTransport(FAILED), policy=policy)
    asyncio.get_running_loop().call_later(1, b.client.stop, Interrupted(2))

    with pytest.raises(Interrupted):
        await b.client.score(a_request())

    assert asyncio.get_running_loop().time() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    "how",
    [
        {"pace": Pace(requests_per_minute=1)},
        {"pace": Pace(max_in_flight=1)},
        {"limit_usd": 400 * USD_PER_TOKEN},
    ],
    ids=["for the pace", "for a place in flight", "for money"],
)
@on_virtual_clock
async def test_stopping_ends_every_wait_before_a_request_is_sent(how) -> None:
    transport = FakeTransport(HANG)
    b = client_on(transport, **how)
    loop, ended_at = asyncio.get_running_loop(), 0.0

    async def wait() -> None:
        nonlocal ended_at
        with pytest.raises(Interrupted):
            await b.client.score(a_request(1))
        ended_at = loop.time()

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(b.client.score(a_request(0)))
        await asyncio.sleep(0.1)
        tasks.create_task(wait())
        loop.call_later(1, b.client.stop, Interrupted(15))
        loop.call_later(20, transport.release)

    assert ended_at == pytest.approx(1.1, abs=0.01)
    assert len(first.result().scores) == 3
    assert b.throttle.in_flight == 0


@on_virtual_clock
async def test_stopping_ends_the_wait_for_the_probe_of_another_client() -> None:
    transport = FakeTransport(*[Transient(UNREACHABLE)] * 2, HANG)
    policy = RetryPolicy(backoff=Backoff(1.0, 1.0), max_unreached_s=None)
    b = client_on(transport, policy=policy)
    other = RerankClient(b.endpoint, metrics=Metrics())

    async with asyncio.TaskGroup() as tasks:
        probing = tasks.create_task(outcomes([other.score(a_request(0))]))
        await asyncio.sleep(60)
        waiting = tasks.create_task(outcomes([b.client.score(a_request(1))]))
        await asyncio.sleep(60)
        b.client.stop(Interrupted(15))
        await asyncio.sleep(1)
        assert isinstance(waiting.result()[0], Interrupted)
        assert not probing.done()
        transport.release()

    assert not isinstance(probing.result()[0], BaseException)


@on_virtual_clock
async def test_clients_of_one_endpoint_share_its_quota_and_count_apart() -> None:
    b = client_on(FakeTransport(latency_s=5), pace=Pace(max_in_flight=2))
    other = Metrics()
    clients = [b.client, RerankClient(b.endpoint, metrics=other)]

    async with asyncio.TaskGroup() as tasks:
        for client, count in zip(clients, (1, 3), strict=True):
            tasks.create_task(score_all(client, count))
        await asyncio.sleep(1)
        assert b.throttle.in_flight == 2

    assert (b.metrics.answered, other.answered) == (1, 3)


@on_virtual_clock
async def test_stopping_one_client_leaves_the_others_of_its_endpoint_alone() -> None:
    b = client_on(FakeTransport(latency_s=5), pace=Pace(max_in_flight=1))
    other = RerankClient(b.endpoint, metrics=Metrics())

    async with asyncio.TaskGroup() as tasks:
        stopped = tasks.create_task(score_all(b.client, 3))
        going_on = tasks.create_task(score_all(other, 3))
        await asyncio.sleep(1)
        b.client.stop(Interrupted(15))

    assert [isinstance(result, Interrupted) for result in stopped.result()] == [False, True, True]
    assert not any(isinstance(result, BaseException) for result in going_on.result())


@on_virtual_clock
async def test_a_client_that_fails_alone_knows_that_others_are_served() -> None:
    """So it spends its attempts without a witness, and waits for no end of an outage."""
    policy = RetryPolicy(max_attempts=1, backoff=Backoff(1.0, 1.0))
    transport = FakeTransport(FAILED, otherwise=served, latency_s=0.5)
    b = client_on(transport, policy=policy)
    other = RerankClient(b.endpoint, metrics=Metrics())

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(outcomes([b.client.score(a_request(0))]))
        for number in range(1, 4):
            await asyncio.sleep(0.2)
            tasks.create_task(other.score(a_request(number)))

    assert isinstance(task.result()[0], Transient)
    assert transport.witnesses == []


def lacking(*places: int, tokens: int | None = 7) -> IncompleteAnswer:
    """Return an answer for three documents that has no score for some."""
    scores = np.array([0.5, 0.4, 0.3])
    scores[list(places)] = np.nan
    return IncompleteAnswer(scores, tokens)


@pytest.mark.parametrize("max_attempts", [1, 2, 5])
@on_virtual_clock
async def test_the_last_answer_counts_if_the_same_documents_always_lack_a_score(
    max_attempts,
) -> None:
    transport = FakeTransport(otherwise=lambda _: lacking(1, tokens=None))
    b = client_on(transport, policy=RetryPolicy(max_attempts=max_attempts))

    with pytest.raises(IncompleteAnswer) as caught:
        await b.client.score(a_request())

    assert len(transport.sent) == max_attempts
    assert np.isnan(caught.value.scores).tolist() == [False, True, False]
    assert caught.value.total_tokens == a_request().tokens, "the bound, if nothing is counted"
    assert b.metrics.unanswered == max_attempts, "each may be billed"


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([lacking(1), lacking(1)], IncompleteAnswer),
        ([lacking(1), FAILED, served, lacking(1)], IncompleteAnswer),
        ([FAILED, served, FAILED, served, lacking(1)], IncompleteAnswer),
        ([lacking(1), lacking(2)], BadAnswer),
        ([lacking(1), lacking(1, 2)], BadAnswer),
        ([lacking(1), lacking(1), NONSENSE, served], BadAnswer),
        ([lacking(1), lacking(1), FAILED, served], Transient),
    ],
)
@on_virtual_clock
async def test_an_answer_that_lacks_other_documents_each_time_is_not_used(answers, kind) -> None:
    attempts = len(answers) - answers.count(served)
    b = client_on(FakeTransport(*answers), policy=RetryPolicy(max_attempts=attempts))

    with pytest.raises(RequestError) as caught:
        await b.client.score(a_request())

    assert type(caught.value) is kind


@on_virtual_clock
async def test_a_later_whole_answer_is_used_alone() -> None:
    b = client_on(FakeTransport(lacking(0), lacking(0)))

    scores = await b.client.score(a_request())

    assert scores.scores.tolist() == [1, 1 / 2, 1 / 3], "scores of two requests are not mixed"


@on_virtual_clock
async def test_a_503_waits_for_retry_after_before_another_attempt() -> None:
    transport = FakeTransport(served, Transient("busy", status=503, retry_after_s=90), served)
    b = client_on(transport)
    await b.client.score(a_request(1))

    await b.client.score(a_request(2))

    assert asyncio.get_running_loop().time() == pytest.approx(90, abs=0.1)


@pytest.mark.parametrize("failure", [Throttled, Transient])
@on_virtual_clock
async def test_a_retry_after_of_a_day_ends_with_the_allowed_outage(failure) -> None:
    a_day = failure("busy", status=503, retry_after_s=86_400)
    transport = FakeTransport(served, otherwise=lambda _: a_day)
    b = client_on(transport, policy=RetryPolicy(max_outage_s=100))
    await b.client.score(a_request(1_000))

    results = await score_all(b.client, 10)

    assert {type(result) for result in results} == {OutageTooLong}
    assert asyncio.get_running_loop().time() == pytest.approx(100, abs=0.1)
    assert transport.sent[-1].at > 80, "it is asked again before that"


@pytest.mark.parametrize("retry_after_s", [0.0, 0.001])
@on_virtual_clock
async def test_a_429_that_asks_for_no_wait_is_backed_off_from_exponentially(retry_after_s) -> None:
    until_s = 60
    loop = asyncio.get_running_loop()

    def answer(request: Request) -> Scores | RerankError:
        if loop.time() > until_s:
            return served(request)
        return Throttled("Throttling", status=429, retry_after_s=retry_after_s)

    b = client_on(FakeTransport(otherwise=answer))

    results = await score_all(b.client, 50)

    assert not [result for result in results if isinstance(result, RerankError)]
    assert b.metrics.throttled < 60


@on_virtual_clock
async def test_a_cancelled_request_leaves_nothing_in_flight_and_nothing_reserved() -> None:
    b = client_on(FakeTransport(HANG), limit_usd=400 * USD_PER_TOKEN)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await b.client.score(a_request())

    assert b.throttle.in_flight == 0
    assert b.client.target_concurrency() == Pace().max_in_flight


@on_virtual_clock
async def test_a_retry_is_logged_with_its_fields(caplog) -> None:
    with caplog.at_level(logging.DEBUG, "pipeline.service"):
        await outcomes([client_on(FakeTransport(FAILED)).client.score(a_request())])

    warning, record = caplog.records
    assert (warning.event, warning.levelname) == ("request.retried", "WARNING")
    assert (record.event, record.levelname) == ("request.retry_scheduled", "DEBUG")
    assert record.fields == {
        "query_id": "q0",
        "attempt": 2,
        "wait_s": 1.0,
        "code": "InternalError",
    }


@on_virtual_clock
async def test_a_request_that_always_fails_while_others_are_served_ends_after_its_attempts() -> (
    None
):
    def serves_all_but_one(request: Request) -> Scores:
        if request.query == "query 0":
            raise Transient("ServiceUnavailable", status=503)
        return served(request)

    transport = FakeTransport(*[serves_all_but_one] * 1_000, latency_s=0.1)
    b = client_on(transport, policy=RetryPolicy(max_attempts=3, backoff=Backoff(1.0, 20.0)))

    async def others() -> None:
        for number in range(1, 200):
            await b.client.score(a_request(number))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(others())
        with pytest.raises(Transient):
            await b.client.score(a_request(0))

    assert transport.queries.count("query 0") == 3


@on_virtual_clock
async def test_no_wait_is_longer_than_the_cap_however_many_attempts() -> None:
    transport = FakeTransport(*[FAILED, served] * 8)
    b = client_on(transport, policy=RetryPolicy(max_attempts=9, backoff=Backoff(1.0, 20.0)))

    await b.client.score(a_request())

    sent = [sent.at for sent in transport.sent if sent.request is not TINY]
    gaps_s = [after - before for before, after in pairwise(sent)]
    assert gaps_s == pytest.approx([1, 2, 4, 8, 16, 20, 20, 20], abs=0.01)
