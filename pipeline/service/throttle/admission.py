"""All limits of one service together: slots, requests, tokens, pauses; who may go, what it tells.

A permit carries the versions of the limits that it was admitted under, by which an answer tells
whether it is news about the present ones.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import cached_property
from typing import Final

from pipeline.core.errors import Throttled
from pipeline.core.settings import Pace
from pipeline.service.metrics import Metrics
from pipeline.service.throttle.concurrency import ConcurrencyWindow
from pipeline.service.throttle.permit import Permit
from pipeline.service.throttle.quota import Quota

log = logging.getLogger(__name__)

_WAITED_S: Final = 0.000_1
"""What takes longer was a wait, not a computation."""

_TOKEN_GRAIN_S: Final = 0.020
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 60.0
_MOST_DOUBLINGS: Final = 10
_LONGEST_RETRY_AFTER_S: Final = 600.0
_LEARNING: Final = 0.05
"""Weight of one answer in the ratio of counted to estimated tokens."""


class AdmissionControl:
    """Grants leases and learns from what became of them; for one waiter at a time.

    Args:
        pace: What the settings say.
        metrics: Where waits and the use of the quota are counted.
        released: Told of each slot that comes back.
    """

    def __init__(self, pace: Pace, metrics: Metrics, released: Callable[[], None]) -> None:
        self.slots = ConcurrencyWindow(pace.max_in_flight, pace.max_documents_in_flight)
        self.requests = Quota(pace.requests_per_minute)
        self.tokens = Quota(pace.tokens_per_minute, grain_s=_TOKEN_GRAIN_S)
        self._metrics = metrics
        self._released = released
        self._full_since: float | None = None
        self._pause_until = 0.0
        self._pauses_in_a_row = 0
        self._tokens_ratio = 1.0
        self._last_admission: float | None = None

    @cached_property
    def now(self) -> Callable[[], float]:
        """The clock of the event loop that the limits are used on."""
        return asyncio.get_running_loop().time

    def set(self, pace: Pace) -> None:
        """Change what the settings say; whoever waits for the pace does so under the old ones."""
        self.slots.set_limits(pace.max_in_flight, pace.max_documents_in_flight)
        self.requests.set(pace.requests_per_minute)
        self.tokens.set(pace.tokens_per_minute)

    def grant_at_once(self, documents: int, tokens: int) -> Permit | None:
        """A permit for a request that has not to wait for anything."""
        now, slots, estimate = self.now(), self.slots, tokens * self._tokens_ratio
        if (
            now < self._pause_until
            or not (slots.has_room() and slots.has_room_for_documents(documents))
            or not self.tokens.has_room(now, estimate)
            or not self.requests.try_acquire(1)
        ):
            return None
        if not self.tokens.try_acquire(estimate):
            self.requests.release(1)
            return None
        return self._grant(now, documents, tokens, estimate)

    async def grant(self, documents: int, tokens: int) -> Permit:
        """A permit for a request that has room, once pace and pauses let it go."""
        clock, waits = self.now, self._metrics.waits
        now = clock()
        await self.requests.take(1)
        now, before = clock(), now
        if now - before > _WAITED_S:
            waits.requests_s += now - before
            self.requests.bound(now)
        estimate = tokens * self._tokens_ratio
        await self.tokens.take(estimate)
        for window in self.tokens.windows:
            while (wait_s := window.wait_s(clock(), estimate)) > 0:  # noqa: ASYNC110
                await asyncio.sleep(wait_s)  # to the known end, which answers may move
        now, before = clock(), now
        if now - before > _WAITED_S:
            waits.tokens_s += now - before
            self.tokens.bound(now)
        while (wait_s := self._pause_until - clock()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait_s)  # it may be prolonged
        now, before = clock(), now
        waits.pause_s += now - before
        return self._grant(now, documents, tokens, estimate)

    def _grant(self, now: float, documents: int, tokens: int, estimate: float) -> Permit:
        slots, entries = self.slots, self.tokens.enter(now, estimate)
        slots.take(documents)
        if not slots.has_room():
            self._full_since = now
        self._count_use(now)
        versions = (self.requests.learned.version, self.tokens.learned.version, slots.version)
        return Permit(self, documents, tokens, estimate, entries, versions)

    def _count_use(self, now: float) -> None:
        """Hold the use of the quota against what it would have taken since the last admission."""
        metrics, last = self._metrics, self._last_admission
        self._last_admission = now
        if last is None:
            return
        metrics.admitted_s += now - last
        if self.requests.told is not None:
            metrics.requests_used += 1
            metrics.requests_offered += (now - last) * self.requests.told
        if self.tokens.told is not None:
            metrics.tokens_offered += (now - last) * self.tokens.told

    def answered(self, permit: Permit, total_tokens: int | None) -> None:
        """Learn that the service served a request, and what it counted."""
        now = self.now()
        self._pauses_in_a_row = 0
        self.slots.answered()
        if total_tokens is not None:
            if permit.tokens:
                ratio = total_tokens / permit.tokens
                self._tokens_ratio += _LEARNING * (ratio - self._tokens_ratio)
            self.tokens.correct(permit.entries, total_tokens - permit.estimate)
        amount = permit.estimate if total_tokens is None else float(total_tokens)
        if self.tokens.told is not None:
            self._metrics.tokens_used += amount
        requests_version, tokens_version, _ = permit.versions
        self.requests.granted(now, 1, requests_version)
        self.tokens.granted(now, amount, tokens_version)

    def throttled(self, permit: Permit, error: Throttled) -> None:
        """Learn that the service asked for a slower pace."""
        now, estimate = self.now(), permit.estimate
        self.tokens.correct(permit.entries, -estimate)
        self._metrics.throttled += 1
        if self.requests.told is not None:
            self._metrics.requests_used -= 1
        requests_version, tokens_version, slots_version = permit.versions
        pause_s = self._pause_s(error)
        match error.limit:
            case "capacity":
                news = self.slots.overloaded(slots_version)
            case "tokens":
                news = self.tokens.learned.refused(now, estimate, tokens_version, pause_s=pause_s)
            case limit:
                news = self.requests.learned.refused(
                    now, 1, requests_version, pause_s=pause_s, for_growth=limit == "growth"
                )
        if news or error.retry_after_s is not None:
            self._pause_until = max(self._pause_until, now + pause_s)
        if news:
            self._pauses_in_a_row += 1
            log.warning(
                "pace.cut limit=%s code=%s requests_per_s=%s tokens_per_s=%s pause_s=%.2f",
                *(error.limit, error.code),
                *(_shown(quota.learned.rate) for quota in (self.requests, self.tokens)),
                pause_s,
            )

    def _pause_s(self, error: Throttled) -> float:
        pause_s = error.retry_after_s
        if pause_s is None:
            doublings = min(self._pauses_in_a_row, _MOST_DOUBLINGS)
            pause_s = min(_FIRST_PAUSE_S * 2**doublings, _LONGEST_PAUSE_S)
        return min(pause_s, _LONGEST_RETRY_AFTER_S)

    def take_back(self, permit: Permit) -> None:
        """Take a slot back, and tell nobody."""
        self.slots.release(permit.documents)
        if self._full_since is not None:
            self._metrics.waits.in_flight_s += self.now() - self._full_since
            self._full_since = None

    def released(self, permit: Permit) -> None:
        """Take a slot back, and tell whoever waits for one."""
        self.take_back(permit)
        self._released()


def _shown(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"
