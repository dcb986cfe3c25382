"""What a run may spend is stated before it is spent, and seldom."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from support.virtual_clock import on_virtual_clock

from pipeline.core.errors import CostLimitReached, OutputFailed
from pipeline.service.cost_budget import CostBudget
from pipeline.service.run_budget import RunBudget

USD_PER_TOKEN = 0.001
TOKENS = 100
"""Of each request, of which the service counts half."""
LIMIT_USD = 100.0


class Statements:
    """Where a run states what it may spend, which takes a while."""

    def __init__(self, limit_usd: float | None = LIMIT_USD, takes_s: float = 0.01) -> None:
        self.stated: list[float] = []
        self.shared = CostBudget(limit_usd, USD_PER_TOKEN)
        self.budget = RunBudget(self.shared, self.state)
        self._takes_s = takes_s

    async def state(self) -> None:
        await asyncio.sleep(self._takes_s)
        self.stated.append(self.budget.at_most_usd)

    async def spend(self, count: int, *, at_once: int, latency_s: float = 0.05) -> None:
        """Send requests; at every moment the last statement must cover what may be spent."""
        numbers = iter(range(count))
        in_flight = 0

        async def send_each(numbers: Iterator[int]) -> None:
            nonlocal in_flight
            for _ in numbers:
                reservation = await self.budget.reserve(TOKENS)
                in_flight += 1
                at_most = self.budget.spent_usd + in_flight * TOKENS * USD_PER_TOKEN
                assert self.shared.has_limit is False or at_most <= self.stated[-1] + 1e-9
                await asyncio.sleep(latency_s)
                in_flight -= 1
                self.budget.record_usage(TOKENS, TOKENS // 2)
                self.budget.settle(reservation, TOKENS // 2 * USD_PER_TOKEN)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(at_once):
                tasks.create_task(send_each(numbers))


@on_virtual_clock
async def test_nothing_is_spent_that_was_not_stated_before() -> None:
    b = Statements()

    await b.spend(1_000, at_once=64)

    assert b.budget.spent_usd == pytest.approx(50)
    assert len(b.stated) < 20, "about one statement a second, and some at first"
    assert b.stated[-1] <= LIMIT_USD


@on_virtual_clock
async def test_of_a_slow_run_little_more_is_stated_than_is_in_flight() -> None:
    b = Statements()

    await b.spend(100, at_once=2, latency_s=3)

    assert b.stated[-1] - b.budget.spent_usd <= 5 * TOKENS * USD_PER_TOKEN


@on_virtual_clock
async def test_what_is_stated_keeps_within_the_limit() -> None:
    b = Statements(limit_usd=5.0)

    with suppress(ExceptionGroup):
        await b.spend(1_000, at_once=64)

    assert 4.5 <= b.budget.spent_usd <= 5.0
    assert b.stated[-1] <= 5.0
    with pytest.raises(CostLimitReached):
        await b.budget.reserve(2 * TOKENS)


@on_virtual_clock
async def test_without_a_limit_nothing_is_stated() -> None:
    b = Statements(limit_usd=None)

    await b.spend(100, at_once=8)

    assert b.stated == []
    assert b.budget.spent_usd == pytest.approx(5)
    assert b.budget.at_most_usd == b.budget.spent_usd


@on_virtual_clock
async def test_if_nothing_can_be_stated_nothing_is_sent_and_the_money_is_given_back() -> None:
    async def fail() -> None:
        raise OutputFailed("cannot be written", which="out")

    shared = CostBudget(1.0, USD_PER_TOKEN)
    budget = RunBudget(shared, fail)

    for _ in range(3):
        with pytest.raises(OutputFailed):
            await budget.reserve(900)

    assert (shared.left_usd, budget.spent_usd) == (1.0, 0.0)


@on_virtual_clock
async def test_at_the_end_what_was_not_spent_is_taken_back() -> None:
    b = Statements()
    await b.spend(10, at_once=2)
    assert b.budget.at_most_usd > b.budget.spent_usd

    b.budget.end()

    assert b.budget.at_most_usd == b.budget.spent_usd == pytest.approx(0.5)


@on_virtual_clock
async def test_it_tells_whether_requests_wait_for_a_statement_or_for_money() -> None:
    b = Statements(limit_usd=0.25, takes_s=1.0)
    b.budget.record_usage(TOKENS, TOKENS)  # the bound is proved, so that two may be in flight
    assert not b.budget.is_waited_for

    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(b.budget.reserve(TOKENS)) for _ in range(3)]
        await asyncio.sleep(0.5)
        assert b.budget.is_waited_for, "the statement takes a second"
        await asyncio.sleep(2)
        assert [call.done() for call in calls] == [True, True, False]
        assert b.budget.is_waited_for, "only two can be paid at once"
        b.budget.settle(calls[0].result(), 0.0)

    assert not b.budget.is_waited_for
