"""Record every second how a run goes: its numbers, and what limits it at the moment."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable

from pipeline.dataset.run_stats import RunStats
from pipeline.dataset.summary import bound_by
from pipeline.output.ticks import EVERY_S, MAX_TICKS, RECENT_S, Tick
from pipeline.service.metrics import QuotaUse


class Ticker:
    """Takes samples of a run and makes ticks of them, further apart the longer the run lasts.

    Args:
        stats: The numbers of the run, among them its ticks.
        quota_use: Returns how its session used the quota so far, waits that go on included.
        stopped_by: Returns the cause that stops all sending now: `outage`, `storage` or `operator`;
            None if there is none.
        waits_for_money: Returns whether requests wait for others to be settled. They do so before
            they wait for the quota, so it holds the run back only where that does not.
        on_sample: Called after each sample that `run` takes.
        clock: Seconds; any start.
        cpu_clock: Seconds of CPU time of this process.
        every_s: Between two samples.
        max_ticks: How many ticks to keep.
    """

    def __init__(
        self,
        stats: RunStats,
        quota_use: Callable[[], QuotaUse],
        stopped_by: Callable[[], str | None],
        *,
        waits_for_money: Callable[[], bool] = lambda: False,
        on_sample: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
        every_s: float = EVERY_S,
        max_ticks: int = MAX_TICKS,
    ) -> None:
        self._ticks, self._recent, self._metrics = stats.ticks, stats.recent, stats.metrics
        self._quota_use = quota_use
        self._stopped_by = stopped_by
        self._waits_for_money = waits_for_money
        self._on_sample = on_sample
        self._clock, self._cpu_clock = clock, cpu_clock
        self._every_s = every_s
        self._max_ticks = max_ticks
        self._tick_every_s = every_s
        self._started = self._sampled_at = clock()
        self._cpu_s = cpu_clock()
        self._use = quota_use().copy()
        self._latency = stats.metrics.latency.copy()
        self._in_flight_s = 0.0
        self._bound_s: dict[str, float] = defaultdict(float)

    async def run(self) -> None:
        """Take a sample every `every_s`, until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            self.sample()
            self._on_sample()

    def sample(self, *, is_last: bool = False) -> None:
        """Record what happened since the last sample; add a tick if it is time for one.

        Args:
            is_last: The run has ended, so it is.
        """
        now, cpu_s, use = self._clock(), self._cpu_clock(), self._quota_use()
        seconds, cpu_seconds = now - self._sampled_at, cpu_s - self._cpu_s
        if seconds <= 0:
            return
        since = use.since(self._use)
        since.admitted_s = seconds
        cause = self._stopped_by() or bound_by(
            since, seconds=seconds, cpu_s=cpu_seconds, min_seconds=0.5 * self._every_s
        )
        if cause == "source" and self._waits_for_money():
            cause = "cost"
        self._bound_s[cause] += seconds
        self._in_flight_s += self._metrics.in_flight * seconds
        self._sampled_at, self._cpu_s, self._use = now, cpu_s, use.copy()
        tick = self._tick(now - self._started)
        self._recent.add(tick)
        self._recent.drop_before(tick.at_s - RECENT_S)
        last = self._ticks.at_s[-1] if self._ticks else 0.0
        # Half a sample early rather than half a sample late: samples are never quite punctual.
        if is_last or tick.at_s - last > self._tick_every_s - 0.5 * self._every_s:
            self._add(tick)

    def _tick(self, at_s: float) -> Tick:
        metrics = self._metrics
        return Tick(
            at_s=at_s,
            requests=metrics.answered,
            sent=metrics.requests,
            throttled=metrics.throttled,
            failed=metrics.failed,
            reused=metrics.requests_reused,
            tokens=metrics.tokens,
            cost_usd=metrics.cost_usd,
            candidates=metrics.candidates_ranked,
            in_flight_s=self._in_flight_s,
            p95_ms=metrics.latency.since(self._latency).quantile_ms(0.95),
            bound_s=dict(self._bound_s),
        )

    def _add(self, tick: Tick) -> None:
        self._latency = self._metrics.latency.copy()
        before = len(self._ticks)
        self._ticks.add(tick, max_ticks=self._max_ticks)
        if len(self._ticks) <= before:
            self._tick_every_s *= 2
