"""The allowed cost is never exceeded, and not given up early."""

import asyncio

import pytest
from support.client_bench import a_request, bench
from support.fake_reranker import Reply, served
from support.virtual_clock import run

from pipeline.core.errors import CostLimitReached
from pipeline.service.cost_budget import CostBudget

USD_PER_TOKEN = 0.1 / 1e6


def billed(tokens: int):
    return lambda body: Reply(200, {**served(body), "usage": {"total_tokens": tokens}})


async def test_the_cost_limit_ends_the_job_before_it_is_exceeded() -> None:
    limit_usd = 2_000 * USD_PER_TOKEN
    async with bench(*[billed(100)] * 100, max_cost_usd=limit_usd) as b:
        results = await asyncio.gather(
            *(b.client.score(a_request(n)) for n in range(50)), return_exceptions=True
        )

    failures = [result for result in results if isinstance(result, BaseException)]
    assert {type(failure) for failure in failures} == {CostLimitReached}
    assert b.counters.cost_usd <= limit_usd
    assert b.counters.cost_usd >= 0.75 * limit_usd


async def test_a_service_that_bills_more_than_thought_possible_is_bounded_all_the_same() -> None:
    limit_usd = 5_000 * USD_PER_TOKEN
    async with bench(*[billed(800)] * 100, max_cost_usd=limit_usd, latency_s=0.001) as b:
        await b.client.score(a_request(99))  # teaches the bill
        await asyncio.gather(
            *(b.client.score(a_request(n)) for n in range(50)), return_exceptions=True
        )

    assert b.counters.cost_usd <= limit_usd


async def test_refusals_cost_nothing() -> None:
    limit_usd = 400 * USD_PER_TOKEN  # one request at its upper bound
    async with bench(500, 503, 429, billed(50), max_cost_usd=limit_usd) as b:
        await b.client.score(a_request())

    assert b.counters.cost_usd == pytest.approx(50 * USD_PER_TOKEN)


async def test_an_attempt_that_may_have_been_paid_counts_as_paid() -> None:
    limit_usd = 400 * USD_PER_TOKEN
    async with bench("cut", max_cost_usd=limit_usd) as b:
        with pytest.raises(CostLimitReached):
            await b.client.score(a_request())


def test_a_request_waits_for_the_reservations_of_others() -> None:
    budget = CostBudget(400 * USD_PER_TOKEN, USD_PER_TOKEN)

    async def main() -> None:
        first = await budget.reserve(100, 2)
        waiting = asyncio.create_task(budget.reserve(100, 2))
        await asyncio.sleep(1)
        assert not waiting.done()
        budget.settle(first, 50 * USD_PER_TOKEN)
        assert await waiting == pytest.approx(300 * USD_PER_TOKEN)

    run(main())
