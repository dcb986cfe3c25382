"""Samples of a run become ticks: what it did, and what held it back, by a clock of the test."""

import asyncio

import pytest
from support.group_world import make_settings
from support.virtual_clock import on_virtual_clock

from pipeline.dataset.run_stats import RunStats
from pipeline.dataset.ticker import Ticker
from pipeline.output.ticks import Ticks
from pipeline.service.metrics import QuotaUse


class World:
    """A run whose numbers and clocks the test moves."""

    def __init__(self, *, max_ticks: int = 240) -> None:
        self.now = self.cpu_s = 0.0
        self.use = QuotaUse()
        self.stopped_by: str | None = None
        self.waits_for_money = False
        self.stats = RunStats(make_settings(), self.use)
        self.ticker = Ticker(
            self.stats,
            lambda: self.use,
            lambda: self.stopped_by,
            waits_for_money=lambda: self.waits_for_money,
            clock=lambda: self.now,
            cpu_clock=lambda: self.cpu_s,
            max_ticks=max_ticks,
        )

    @property
    def ticks(self) -> Ticks:
        return self.stats.ticks

    def second(self, *, sent: int = 0, answered: int = 0, cpu_s: float = 0.0) -> None:
        """Let a second pass in which so much happens, then take a sample."""
        self.now += 1
        self.cpu_s += cpu_s
        self.stats.metrics.requests += sent
        self.stats.metrics.answered += answered
        for _ in range(answered):
            self.stats.metrics.latency.add(0.25)
        self.ticker.sample()


def test_a_tick_holds_what_was_counted_since_the_start() -> None:
    world = World()

    world.second(sent=5)
    world.second(sent=5, answered=8)

    assert world.ticks.at_s == [1.0, 2.0]
    assert world.ticks.sent == [5, 10]
    assert world.ticks.requests == [0, 8]
    assert world.ticks.in_flight_s == [5.0, 7.0]
    assert world.ticks.p95_ms[0] == 0.0
    assert world.ticks.p95_ms[1] == pytest.approx(250, rel=0.1)


def test_a_long_run_has_few_ticks_that_tell_all() -> None:
    world = World(max_ticks=10)

    for _ in range(1_000):
        world.second(sent=3, answered=3)

    assert len(world.ticks) <= 10
    assert world.ticks.at_s[-1] > 800
    assert all(one.requests_per_s == pytest.approx(3) for one in world.ticks.stretches())


def test_what_is_recent_stays_so_in_a_long_run() -> None:
    world = World(max_ticks=10)
    for _ in range(1_000):
        world.second(sent=1, answered=1)
    for _ in range(11):
        world.second(sent=7, answered=7)

    recent = world.stats.snapshot().recent

    assert recent is not None
    assert recent.requests_per_s == pytest.approx(7)
    assert recent.seconds == pytest.approx(10)
    assert len(world.stats.recent) <= 12


def test_the_last_sample_is_a_tick_even_if_none_is_due() -> None:
    world = World(max_ticks=4)
    for _ in range(9):
        world.second(answered=1)

    world.now += 0.3
    world.ticker.sample(is_last=True)

    assert world.ticks.at_s[-1] == pytest.approx(9.3)
    assert world.ticks.requests[-1] == 9


@pytest.mark.parametrize(
    ("wait", "cause"),
    [
        ("requests_s", "requests_per_minute"),
        ("tokens_s", "tokens_per_minute"),
        ("in_flight_s", "max_in_flight"),
        ("documents_in_flight_s", "max_documents_in_flight"),
        ("pause_s", "pause"),
    ],
)
def test_the_wait_that_took_most_of_a_second_is_what_bound_it(wait: str, cause: str) -> None:
    world = World()

    setattr(world.use.waits, wait, 0.9)
    world.second()
    world.second()

    assert [one.bound_by for one in world.ticks.stretches()] == [cause, "source"]


def test_a_busy_process_is_bound_by_cpu_and_an_idle_one_by_its_source() -> None:
    world = World()

    for cpu_s in (0.99, 0.99, 0.1):
        world.second(cpu_s=cpu_s)

    assert [one.bound_by for one in world.ticks.stretches()] == ["cpu", "cpu", "source"]


def test_the_cost_limit_binds_where_the_quota_does_not() -> None:
    world = World()
    world.waits_for_money = True

    world.second()
    world.use.waits.requests_s = 0.9
    world.second()

    assert [one.bound_by for one in world.ticks.stretches()] == ["cost", "requests_per_minute"]


@pytest.mark.parametrize("cause", ["outage", "storage", "operator"])
def test_what_stops_everything_counts_before_any_wait(cause: str) -> None:
    world = World()
    world.use.waits.requests_s, world.stopped_by = 0.9, cause

    world.second()

    assert [one.bound_by for one in world.ticks.stretches()] == [cause]


@on_virtual_clock
async def test_it_takes_a_sample_a_second() -> None:
    stats, loop = RunStats(make_settings(), QuotaUse()), asyncio.get_running_loop()
    ticker = Ticker(stats, QuotaUse, lambda: None, clock=loop.time)

    running = asyncio.create_task(ticker.run())
    await asyncio.sleep(5.5)
    running.cancel()

    assert stats.ticks.at_s == [1.0, 2.0, 3.0, 4.0, 5.0]
