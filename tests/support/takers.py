"""Processes on one quota, as tasks of one event loop, and a service that notes what they send."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence

from support.windows import most_in_a_window

from pipeline.core.errors import Throttled
from pipeline.core.settings import Pace
from pipeline.service.throttle.leases.holder import LeaseHolder
from pipeline.service.throttle.leases.leaser import Leaser
from pipeline.service.throttle.throttle import Throttle


class World:
    """Takers that send as fast as they may, to a service that notes when."""

    def __init__(
        self,
        leaser: Leaser,
        per_s: float | None,
        tokens_per_s: float | None = None,
        *,
        latency_s: float = 0.05,
    ) -> None:
        self.leaser = leaser
        self.pace = Pace(
            requests_per_minute=None if per_s is None else 60 * per_s,
            tokens_per_minute=None if tokens_per_s is None else 60 * tokens_per_s,
            max_in_flight=200,
        )
        self.per_s, self.tokens_per_s, self.latency_s = per_s, tokens_per_s, latency_s
        self.sent: list[tuple[float, str, float]] = []
        self.refuse_over: float | None = None
        self.refused = 0
        self.counts_share = 1.0

    async def take_part(
        self,
        name: str,
        *,
        tokens: Callable[[], int] = lambda: 0,
        gap_s: float = 0.0,
        workers: int = 30,
    ) -> None:
        """Be a taker until cancelled."""
        holder = LeaseHolder(self.leaser, self.per_s, self.tokens_per_s)
        throttle = Throttle(self.pace, leases=holder)
        loop = asyncio.get_running_loop()

        async def work() -> None:
            while True:
                bound = tokens()
                with await throttle.admit(1, bound, ["x" * max(bound, 1)]) as permit:
                    now, counted = loop.time(), self.counts_share * bound
                    if self.refuse_over and self.rate(1.0) > self.refuse_over:
                        self.refused += 1
                        await asyncio.sleep(self.latency_s)
                        permit.throttled(Throttled("Throttling"))
                        continue
                    self.sent.append((now, name, counted))
                    await asyncio.sleep(self.latency_s)
                    permit.answered(round(counted))
                await asyncio.sleep(gap_s)

        async with holder.running(), asyncio.TaskGroup() as tasks:
            for _ in range(workers):
                tasks.create_task(work())

    def rate(self, last_s: float) -> float:
        now = asyncio.get_running_loop().time()
        return sum(at > now - last_s for at, _, _ in self.sent) / last_s

    def by_taker(self, since: float, until: float) -> Counter[str]:
        return Counter(name for at, name, _ in self.sent if since <= at < until)

    def check(self) -> None:
        """Assert that no window of the quota was exceeded, jitter of clocks allowed."""
        times = [at for at, _, _ in self.sent]
        if self.per_s is not None:
            ones = [1.0] * len(times)
            per_s = self.per_s
            assert most_in_a_window(times, ones, 1) <= max(math.ceil(per_s), 1.05 * per_s)
            assert most_in_a_window(times, ones, 10) <= math.ceil(10.05 * per_s)
            assert most_in_a_window(times, ones, 60) <= math.ceil(60 * per_s)
        if self.tokens_per_s is not None:
            amounts = [amount for _, _, amount in self.sent]
            largest = max(amounts, default=0)
            second = most_in_a_window(times, amounts, 1)
            assert second <= max(1.05 * self.tokens_per_s, largest)
            assert most_in_a_window(times, amounts, 60) <= 60 * self.tokens_per_s


async def ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        assert task.cancelled() or task.exception() is None, task.exception()
