"""What is counted of every attempt, and what it may cost."""

import asyncio

import pytest
from support.client_bench import USD_PER_TOKEN, a_request, client_on, outcomes
from support.fake_transport import HANG, FakeTransport, served
from support.virtual_clock import on_virtual_clock

from pipeline.core.errors import BadAnswer, ServiceRefused, Throttled, Transient
from pipeline.service.failures import CONNECTION_LOST
from pipeline.service.witness import TINY

FAILED = Transient("InternalError", status=500)
NONSENSE = BadAnswer("not_json", status=200)


@on_virtual_clock
async def test_requests_are_counted_apart_by_what_came_of_them() -> None:
    lost = Transient(CONNECTION_LOST)
    transport = FakeTransport(served, Throttled("x"), FAILED, served, lost, served, NONSENSE)
    b = client_on(transport)
    await b.client.score(a_request(1))

    await b.client.score(a_request(2))

    m = b.metrics
    assert (m.requests, m.answered, m.throttled, m.failed) == (9, 5, 1, 3)
    assert m.requests == m.answered + m.throttled + m.failed
    assert m.unanswered == 2, "the connection that broke, and the useless answer"
    assert m.unanswered_usd == pytest.approx(2 * a_request().tokens * USD_PER_TOKEN)


@on_virtual_clock
async def test_a_refusal_for_good_is_a_failed_attempt_that_costs_nothing() -> None:
    b = client_on(FakeTransport(ServiceRefused("no key")))

    await outcomes([b.client.score(a_request())])

    assert (b.metrics.requests, b.metrics.failed, b.metrics.unanswered) == (1, 1, 0)


@on_virtual_clock
async def test_a_request_whose_answer_is_not_waited_for_may_be_billed() -> None:
    b = client_on(FakeTransport(HANG))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await b.client.score(a_request())

    assert (b.metrics.failed, b.metrics.unanswered) == (1, 1)


@on_virtual_clock
async def test_the_witness_is_counted_paid_and_kept_within_the_budget() -> None:
    transport = FakeTransport(FAILED)
    b = client_on(transport)

    await b.client.score(a_request())

    assert [sent.request is TINY for sent in transport.sent] == [False, True, False]
    assert (b.metrics.requests, b.metrics.answered, b.metrics.failed) == (3, 2, 1)
    assert b.metrics.tokens == 50, "ten for each of two documents, and of three"
