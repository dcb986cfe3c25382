"""The reaction to 429: what is cut, how often, how long nothing is sent, and the way back."""

import asyncio
import itertools
import logging
from collections import deque

import pytest
from support.virtual_clock import run

from pipeline.core.errors import Throttled
from pipeline.core.settings import Pace
from pipeline.service.throttle.permit import ThrottlePermit
from pipeline.service.throttle.throttle import Throttle


class TrueLimit:
    """A service that grants `per_period` in any `period_s` seconds, whatever is configured."""

    def __init__(self, per_period: float, period_s: float = 1.0) -> None:
        self.per_period = per_period
        self.period_s = period_s
        self._granted: deque[tuple[float, float]] = deque()

    def grants(self, now: float, amount: float = 1) -> bool:
        while self._granted and self._granted[0][0] <= now - self.period_s:
            self._granted.popleft()
        fits = sum(one for _, one in self._granted) + amount <= self.per_period
        if fits:
            self._granted.append((now, amount))
        return fits


async def load(
    throttle: Throttle,
    service: TrueLimit,
    seconds: float,
    *,
    refusal: Throttled,
    tokens: int = 1,
    latency_s: float = 0.05,
) -> tuple[int, int]:
    """Keep the throttle busy; how many requests were granted and refused."""
    loop, counts = asyncio.get_running_loop(), [0, 0]

    async def worker() -> None:
        while loop.time() < seconds:
            with await throttle.admit(1, tokens) as permit:
                by_tokens = refusal.limit == "tokens"
                granted = service.grants(loop.time(), tokens if by_tokens else 1)
                await asyncio.sleep(latency_s)
                counts[not granted] += 1
                permit.answered(tokens) if granted else permit.throttled(refusal)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(worker())
    return counts[0], counts[1]


def refusal(limit: str = "requests", retry_after_s: float | None = None) -> Throttled:
    return Throttled("Throttling", limit=limit, retry_after_s=retry_after_s)


@pytest.mark.parametrize("retry_after_s", [None, 1.0])
def test_a_quota_configured_twice_too_high_still_uses_the_true_one(retry_after_s) -> None:
    throttle = Throttle(Pace(requests_per_minute=12_000))

    granted, refused = run(
        load(throttle, TrueLimit(100), 20, refusal=refusal(retry_after_s=retry_after_s))
    )

    assert granted >= 0.9 * 100 * 20
    assert refused <= 0.03 * granted


def test_tokens_configured_twice_too_high_still_use_the_true_quota() -> None:
    throttle = Throttle(Pace(tokens_per_minute=12_000_000))

    granted, refused = run(
        load(throttle, TrueLimit(100_000), 20, refusal=refusal("tokens"), tokens=1_000)
    )

    assert granted >= 0.9 * 100 * 20
    assert refused <= 0.03 * granted


def test_an_unknown_quota_is_found() -> None:
    throttle = Throttle(Pace(max_in_flight=64))

    granted, _ = run(load(throttle, TrueLimit(100), 30, refusal=refusal()))

    assert granted >= 0.8 * 100 * 30


def test_what_was_counted_before_a_limit_was_known_is_not_held_against_it() -> None:
    throttle = Throttle(Pace())

    async def main() -> float:
        for _ in range(50):
            with await throttle.admit(1, 100) as permit:
                permit.answered(1_000_000)
        with await throttle.admit(1, 100) as permit:
            permit.throttled(refusal("tokens", retry_after_s=0))
        before = asyncio.get_running_loop().time()
        await throttle.admit(1, 100)
        return asyncio.get_running_loop().time() - before

    assert run(main()) < 1


def test_a_quota_configured_exactly_is_never_refused() -> None:
    throttle = Throttle(Pace(requests_per_minute=6_000))

    granted, refused = run(load(throttle, TrueLimit(105), 20, refusal=refusal()))

    assert refused == 0
    assert granted >= 0.98 * 100 * 20


def test_one_refusal_among_many_successes_costs_little() -> None:
    throttle = Throttle(Pace(requests_per_minute=6_000))
    service = TrueLimit(1_000)

    async def main() -> int:
        asyncio.get_running_loop().call_later(2, setattr, service, "per_period", 0)
        asyncio.get_running_loop().call_later(2.02, setattr, service, "per_period", 1_000)
        granted, _ = await load(throttle, service, 20, refusal=refusal())
        return granted

    assert run(main()) >= 0.93 * 100 * 20


async def permits(throttle: Throttle, count: int) -> list[ThrottlePermit]:
    return [await throttle.admit(1, 1) for _ in range(count)]


def cuts(caplog: pytest.LogCaptureFixture) -> int:
    return sum(record.message.startswith("pace.cut") for record in caplog.records)


@pytest.mark.parametrize("limit", ["requests", "tokens", "growth", "capacity"])
def test_requests_that_were_admitted_together_cut_once(limit, caplog) -> None:
    throttle = Throttle(Pace(requests_per_minute=6_000, tokens_per_minute=6_000))

    async def main() -> None:
        for permit in await permits(throttle, 10):
            with permit:
                permit.throttled(refusal(limit))

    with caplog.at_level(logging.WARNING):
        run(main())

    assert cuts(caplog) == 1


@pytest.mark.parametrize("limit", ["requests", "tokens", "growth", "capacity"])
def test_nothing_is_sent_before_retry_after_has_passed(limit) -> None:
    throttle = Throttle(Pace(requests_per_minute=6_000))

    async def main() -> float:
        with await throttle.admit(1, 1) as permit:
            permit.throttled(refusal(limit, retry_after_s=7))
        await throttle.admit(1, 1)
        return asyncio.get_running_loop().time()

    assert run(main()) >= 7


def test_a_pause_is_prolonged_but_never_shortened() -> None:
    throttle = Throttle(Pace(requests_per_minute=6_000))

    async def main() -> float:
        first, second, third = await permits(throttle, 3)
        first.throttled(refusal(retry_after_s=5))
        second.throttled(refusal(retry_after_s=9))
        third.throttled(refusal(retry_after_s=2))
        await throttle.admit(1, 1)
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(9, abs=0.1)


def test_without_retry_after_pauses_double_until_something_is_granted() -> None:
    throttle = Throttle(Pace(requests_per_minute=60_000))

    async def main() -> list[float]:
        times = []
        for _ in range(5):
            with await throttle.admit(1, 1) as permit:
                times.append(asyncio.get_running_loop().time())
                permit.throttled(refusal())
        return times

    times = run(main())

    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps == pytest.approx([0.25, 0.5, 1, 2], abs=0.02)


class GrowthLimit(TrueLimit):
    """Grants in each second at most twice what it granted in the one before, but always `first`."""

    def __init__(self, per_s: float, first: float) -> None:
        super().__init__(per_s)
        self._seconds: dict[int, float] = {}
        self._first = first

    def grants(self, now: float, amount: float = 1) -> bool:
        second = int(now)
        most = max(2 * self._seconds.get(second - 1, 0), self._first)
        granted = self._seconds.get(second, 0) + amount
        if granted > min(most, self.per_period):
            return False
        self._seconds[second] = granted
        return True

    def used(self, first: int, last: int) -> float:
        seconds = [self._seconds.get(second, 0) for second in range(first, last)]
        return sum(seconds) / self.per_period / len(seconds)


@pytest.mark.parametrize("latency_s", [0.05, 0.3])
@pytest.mark.parametrize("first", [5, 20])
def test_a_limit_on_growth_is_climbed_within_twelve_seconds(first, latency_s) -> None:
    throttle, service = Throttle(Pace(requests_per_minute=6_000)), GrowthLimit(105, first)

    _, refused = run(load(throttle, service, 40, refusal=refusal("growth"), latency_s=latency_s))

    assert service.used(12, 40) * 105 >= 0.9 * 100
    assert refused <= 60


def test_a_service_that_refuses_everything_for_a_while_is_not_taken_for_a_slow_one() -> None:
    throttle, service = Throttle(Pace(requests_per_minute=6_000)), TrueLimit(0)

    async def main() -> int:
        asyncio.get_running_loop().call_later(2, setattr, service, "per_period", 1_000)
        granted, _ = await load(throttle, service, 12, refusal=refusal())
        return granted

    assert run(main()) >= 0.8 * 100 * 10


@pytest.mark.parametrize("true_per_s", [1, 10])
def test_a_quota_far_too_high_is_found_within_few_refusals(true_per_s, caplog) -> None:
    throttle = Throttle(Pace(requests_per_minute=90 * 60 * true_per_s))

    with caplog.at_level(logging.WARNING):
        granted, refused = run(load(throttle, TrueLimit(true_per_s), 44, refusal=refusal()))

    assert granted >= 0.75 * 44 * true_per_s
    assert refused <= 30
    assert cuts(caplog) <= 12
