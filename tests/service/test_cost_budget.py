"""The allowed cost is never exceeded, and not given up early."""

import asyncio

import pytest
from support.client_bench import USD_PER_TOKEN, a_request, client_on, score_all
from support.fake_transport import FakeTransport, billed
from support.virtual_clock import on_virtual_clock

from pipeline.core.errors import (
    BadAnswer,
    CostLimitReached,
    RerankError,
    Throttled,
    Transient,
)
from pipeline.service.cost_budget import CostBudget
from pipeline.service.failures import CONNECTION_LOST, TIMEOUT, UNREACHABLE

ONE_REQUEST_USD = 400 * USD_PER_TOKEN
"""What one request costs at its upper bound."""


@on_virtual_clock
async def test_the_cost_limit_ends_the_job_before_it_is_exceeded() -> None:
    limit_usd = 2_000 * USD_PER_TOKEN
    b = client_on(FakeTransport(*[billed(100)] * 100), limit_usd=limit_usd)

    results = await score_all(b.client, 50)

    failures = [result for result in results if isinstance(result, RerankError)]
    assert {type(failure) for failure in failures} == {CostLimitReached}
    assert 0.75 * limit_usd <= b.metrics.cost_usd <= limit_usd


@on_virtual_clock
async def test_a_service_that_bills_more_than_thought_possible_is_bounded_all_the_same() -> None:
    limit_usd = 5_000 * USD_PER_TOKEN
    b = client_on(FakeTransport(*[billed(800)] * 100, latency_s=0.001), limit_usd=limit_usd)

    await b.client.score(a_request(99))  # the first bill
    await score_all(b.client, 50)

    assert 0.8 * limit_usd <= b.metrics.cost_usd <= limit_usd


@on_virtual_clock
async def test_a_service_that_bills_nine_times_the_bound_is_found_out_by_one_answer() -> None:
    limit_usd = 40 * ONE_REQUEST_USD
    transport = FakeTransport(latency_s=0.1, otherwise=billed(3_800))
    b = client_on(transport, limit_usd=limit_usd)

    await score_all(b.client, 64)

    assert 0.6 * limit_usd <= b.metrics.cost_usd <= limit_usd
    assert transport.gaps_s[0] >= 0.1, "the first one goes alone"


@on_virtual_clock
async def test_a_bill_that_rises_late_is_held_against_the_requests_in_flight() -> None:
    bills = [billed(100)] * 30 + [billed(3_800)] * 1_000
    limit_usd = 100 * ONE_REQUEST_USD
    b = client_on(FakeTransport(*bills, latency_s=0.1), limit_usd=limit_usd)

    await score_all(b.client, 200)

    in_flight = 64 * 3_800 * USD_PER_TOKEN
    assert b.metrics.cost_usd <= 30 * 100 * USD_PER_TOKEN + in_flight


@on_virtual_clock
async def test_requests_in_flight_grow_as_answers_prove_the_bound() -> None:
    transport = FakeTransport(latency_s=0.1, otherwise=billed(100))
    b = client_on(transport, limit_usd=1_000 * ONE_REQUEST_USD)

    began = asyncio.get_running_loop().time()
    await score_all(b.client, 300)

    assert transport.most_in_flight == 64
    assert asyncio.get_running_loop().time() - began < 1.1


@on_virtual_clock
async def test_what_earlier_runs_spent_counts() -> None:
    b = client_on(FakeTransport(otherwise=billed(100)), limit_usd=2 * ONE_REQUEST_USD)
    b.endpoint.budget.add_earlier(1.5 * ONE_REQUEST_USD)

    with pytest.raises(CostLimitReached, match=r"spent in all runs, up to .* more"):
        await b.client.score(a_request())


@on_virtual_clock
async def test_refusals_cost_nothing() -> None:
    refusals = [
        Transient("x", status=500),
        Transient("x", status=503),
        Transient(UNREACHABLE),
        Throttled("x"),
    ]
    transport = FakeTransport(*refusals, otherwise=billed(0))
    b = client_on(transport, limit_usd=ONE_REQUEST_USD)

    await b.client.score(a_request())

    assert len(transport.sent) == 6
    assert b.metrics.unanswered_usd == 0


@pytest.mark.parametrize(
    "failure", [Transient(CONNECTION_LOST), Transient(TIMEOUT), BadAnswer("not_json")]
)
@on_virtual_clock
async def test_an_attempt_that_may_have_been_billed_counts_as_paid(failure) -> None:
    b = client_on(FakeTransport(failure), limit_usd=ONE_REQUEST_USD)

    with pytest.raises(CostLimitReached):
        await b.client.score(a_request())


@on_virtual_clock
async def test_a_request_that_is_cancelled_in_flight_counts_as_paid() -> None:
    b = client_on(FakeTransport(latency_s=10), limit_usd=ONE_REQUEST_USD)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await b.client.score(a_request(1))

    with pytest.raises(CostLimitReached):
        await b.client.score(a_request(2))


@on_virtual_clock
async def test_a_request_waits_for_the_reservations_of_others() -> None:
    budget = CostBudget(ONE_REQUEST_USD, USD_PER_TOKEN)

    first = await budget.reserve(300)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(budget.reserve(300))
        await asyncio.sleep(1)
        assert not waiting.done()
        budget.settle(first, 50 * USD_PER_TOKEN)

    assert budget.usd(waiting.result().units) == pytest.approx(300 * USD_PER_TOKEN)


@on_virtual_clock
async def test_requests_that_wait_for_money_get_it_in_order_of_arrival() -> None:
    budget, order = CostBudget(ONE_REQUEST_USD, USD_PER_TOKEN), list[int]()

    async def reserve(number: int, units: int) -> None:
        reservation = await budget.reserve(units)
        order.append(number)
        await asyncio.sleep(1)
        budget.settle(reservation, 0.0)

    for _ in range(9):
        budget.record_usage(200, 100)
    async with asyncio.TaskGroup() as tasks:
        for number, units in enumerate((300, 350, 50, 400, 50)):  # 400 are allowed at once
            tasks.create_task(reserve(number, units))

    assert order == [0, 1, 2, 3, 4]


def test_the_repr_shows_what_is_spent() -> None:
    budget = CostBudget(2.0, USD_PER_TOKEN)
    budget.add_earlier(0.5)

    assert repr(budget) == "<CostBudget spent $0.5000 reserved $0.0000 of $2.0000>"
    assert "no limit" in repr(CostBudget(None, USD_PER_TOKEN))
