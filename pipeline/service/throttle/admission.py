"""All limits of one service together: in flight, requests, tokens, pauses.

A permit carries the versions of the limits that admitted it, so that its outcome is only held
against limits that have not changed since.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final

from pipeline.core.content import Content
from pipeline.core.errors import Throttled
from pipeline.core.settings import Pace
from pipeline.service.metrics import QuotaUse
from pipeline.service.throttle.concurrency import ConcurrencyWindow
from pipeline.service.throttle.interface import RateLimit
from pipeline.service.throttle.long_wait_log import LongWaitLog
from pipeline.service.throttle.pause import Pause
from pipeline.service.throttle.permit import ThrottlePermit
from pipeline.service.throttle.quota import Quota
from pipeline.service.throttle.quota_meter import WAITED_S, QuotaMeter
from pipeline.service.throttle.refusal_log import RefusalLog
from pipeline.service.throttle.text_kind import UNKNOWN_KIND, TextKind, text_kind
from pipeline.service.throttle.token_estimates import TokenEstimates

_TOKEN_GRAIN_S: Final = 0.020


class AdmissionControl:
    """Grant permits and learn from their outcomes; for one waiter at a time.

    Args:
        pace: The configured limits.
        quota_use: Where waits and the use of the quota are counted.
        on_release: Called whenever a place in flight is free again.
        quota: The limits of requests and of tokens, if they are not this process's alone.
    """

    def __init__(
        self,
        pace: Pace,
        quota_use: QuotaUse,
        on_release: Callable[[], None],
        quota: tuple[RateLimit, RateLimit] | None = None,
    ) -> None:
        self.concurrency = ConcurrencyWindow(pace.max_in_flight, pace.max_documents_in_flight)
        self.requests: RateLimit
        self.tokens: RateLimit
        self.requests, self.tokens = quota or (
            Quota(pace.requests_per_minute),
            Quota(pace.tokens_per_minute, grain_s=_TOKEN_GRAIN_S),
        )
        self._on_release = on_release
        self._meter = QuotaMeter(quota_use)
        self._pause = Pause()
        self._estimates = TokenEstimates()
        self._refusals = RefusalLog()
        self._long_waits = LongWaitLog()
        self._wait: asyncio.Timeout | None = None
        self._paused_since: float | None = None
        self._paused_before_s = 0.0

    @cached_property
    def now(self) -> Callable[[], float]:
        """The clock of the event loop that the limits are used on."""
        return asyncio.get_running_loop().time

    @property
    def paused_s(self) -> float:
        """For how many seconds the operator's pauses lasted so far."""
        since = self._paused_since
        return self._paused_before_s + (0.0 if since is None else self.now() - since)

    def book_waits(self) -> None:
        """Count the present waits up to now."""
        now = self.now()
        self._meter.book_full(now)
        self._meter.book_wait(now)

    def set(self, pace: Pace) -> None:
        """Change the configured limits; a request that waits for the pace starts its wait again."""
        self.concurrency.set_limits(pace.max_in_flight, pace.max_documents_in_flight)
        self.requests.set(pace.requests_per_minute)
        self.tokens.set(pace.tokens_per_minute)
        if pace.is_paused and self._paused_since is None:
            self._paused_since = self.now()
        elif not pace.is_paused and self._paused_since is not None:
            self._paused_before_s, self._paused_since = self.paused_s, None
            self._meter.forget_last_admission()
        if self._wait is not None:
            self._wait.reschedule(self.now())
            self._wait = None

    def kind(self, texts: Sequence[Content], tokens: int) -> TextKind:
        """Return the kind of a request's texts; without a quota of tokens it does not matter."""
        return UNKNOWN_KIND if self.tokens.rate.current is None else text_kind(texts, tokens)

    def estimate(self, kind: TextKind, tokens: int) -> float:
        """Return the tokens to expect of a request."""
        return self._estimates.estimate(kind, tokens)

    def try_grant_of_any_kind(self, documents: int, tokens: int) -> ThrottlePermit | None:
        """Do the same as `try_grant`, if the quota is so ample that the kind does not matter."""
        if not self.tokens.is_ample(self.now(), tokens):
            return None
        return self.try_grant(documents, tokens, UNKNOWN_KIND)

    def try_grant(self, documents: int, tokens: int, kind: TextKind) -> ThrottlePermit | None:
        """Return a permit for a request that need not wait for anything, else None."""
        now, concurrency, pause = self.now(), self.concurrency, self._pause
        estimate = self._estimates.estimate(kind, tokens)
        if (
            self._paused_since is not None
            or pause.probe is not None
            or now < pause.until
            or not (concurrency.has_room() and concurrency.has_room_for_documents(documents))
            or not self.tokens.has_room(now, estimate)
            or not self.requests.try_acquire(1)
        ):
            return None
        if not self.tokens.try_acquire(estimate):
            self.requests.release(1)
            return None
        return self._grant(now, documents, tokens, kind, estimate)

    async def grant(self, documents: int, tokens: int, kind: TextKind) -> ThrottlePermit:
        """Wait for the pace and for the end of a pause; there must be room in flight."""
        while True:
            try:
                async with asyncio.timeout(None) as self._wait:
                    return await self._grant_at_pace(documents, tokens, kind)
            except TimeoutError:
                continue  # the pace was changed
            finally:
                self._wait = None

    async def _grant_at_pace(self, documents: int, tokens: int, kind: TextKind) -> ThrottlePermit:
        if self._paused_since is not None:
            await asyncio.Event().wait()  # until the pace is changed
        clock, meter = self.now, self._meter
        try:
            meter.begin_wait("requests_s", begun := clock())
            await self.requests.acquire(1)
            try:
                now = meter.book_wait(clock())
                if now - begun > WAITED_S:
                    self.requests.record_wait(now)
                meter.begin_wait("tokens_s", begun := now)
                estimate = await self._wait_for_tokens(tokens, kind)
            except BaseException:
                self.requests.release(1)
                raise
            now = meter.book_wait(clock())
            if now - begun > WAITED_S:
                self.tokens.record_wait(now)
            meter.begin_wait("pause_s", now)
            try:
                await self._pause.wait(clock)
            except BaseException:
                self.requests.release(1)
                self.tokens.release(estimate)
                raise
            now = meter.book_wait(clock())
        finally:
            meter.end_wait()
        return self._grant(now, documents, tokens, kind, estimate)

    async def _wait_for_tokens(self, tokens: int, kind: TextKind) -> float:
        """Wait until so many tokens may pass; return how many of them are expected."""
        estimate = self._estimates.estimate(kind, tokens)
        self._long_waits.record(estimate, self.tokens.rate)
        await self.tokens.acquire(estimate)
        try:
            for window in self.tokens.windows:
                while (wait_s := window.wait_s(self.now(), estimate)) > 0:  # noqa: ASYNC110
                    await asyncio.sleep(wait_s)  # answers may move the end of the wait
        except BaseException:
            self.tokens.release(estimate)
            raise
        return estimate

    def _grant(
        self, now: float, documents: int, tokens: int, kind: TextKind, estimate: float
    ) -> ThrottlePermit:
        concurrency, entries = self.concurrency, self.tokens.enter(now, estimate)
        concurrency.acquire(documents)
        if not concurrency.has_room():
            self._meter.full_since = now
        self._meter.count_admission(now, self.requests.configured, self.tokens.configured)
        versions = (self.requests.rate.version, self.tokens.rate.version, concurrency.version)
        permit = ThrottlePermit(self, documents, tokens, kind, estimate, entries, versions)
        if self.requests.rate.is_measuring or self.tokens.rate.is_measuring:
            self._pause.probe = permit
        return permit

    def answered(self, permit: ThrottlePermit, total_tokens: int | None) -> None:
        """Learn that the service served a request, and the tokens that it counted."""
        now = self.now()
        self._pause.refusals_in_a_row = 0
        self.concurrency.grow()
        if total_tokens is not None:
            self._estimates.record(permit.kind, permit.tokens, total_tokens)
            self.tokens.correct(permit.entries, total_tokens - permit.estimate)
        amount = permit.estimate if total_tokens is None else float(total_tokens)
        if self.tokens.configured is not None:
            self._meter.use.tokens_used += amount
        requests_version, tokens_version, _ = permit.versions
        self.requests.record_success(now, 1, requests_version)
        self.tokens.record_success(now, amount, tokens_version)

    def throttled(self, permit: ThrottlePermit, error: Throttled) -> None:
        """Learn that the service asked for a slower pace."""
        now, estimate = self.now(), permit.estimate
        self.tokens.correct(permit.entries, -estimate)
        if self.requests.configured is not None:
            self._meter.use.requests_used -= 1
        requests_version, tokens_version, concurrency_version = permit.versions
        requests, tokens = self.requests.rate, self.tokens.rate
        pause_s = self._pause.length_s(error)
        match error.limit:
            case "capacity":
                is_new = self.concurrency.cut(concurrency_version)
            case "tokens":
                is_new = tokens.record_refusal(now, estimate, tokens_version, pause_s=pause_s)
            case limit:
                is_new = requests.record_refusal(
                    now, 1, requests_version, pause_s=pause_s, for_growth=limit == "growth"
                )
        self._pause.begin(now, pause_s, error, is_new=is_new)
        self._refusals.record(
            now, error, is_new=is_new, requests=requests, tokens=tokens, pause_s=pause_s
        )

    def take_back(self, permit: ThrottlePermit) -> None:
        """End a permit without a call of `on_release`."""
        self.concurrency.release(permit.documents)
        if permit is self._pause.probe:
            self._pause.end_probe()
        if self._meter.full_since is not None:
            self._meter.book_full(self.now())
            self._meter.full_since = None

    def released(self, permit: ThrottlePermit) -> None:
        """End a permit."""
        self.take_back(permit)
        self._on_release()
