"""One quota, of requests or of tokens: the configured rate, the learned rate, and its pace."""

from collections.abc import Sequence
from typing import Final

from pipeline.service.throttle.adaptive_rate import AdaptiveRate
from pipeline.service.throttle.pacer import Pacer
from pipeline.service.throttle.sliding_window import Entry, SlidingWindow

_MINUTE_S: Final = 60.0
_BINDING_S: Final = 1.0
"""A rate binds if a request had to wait for it within so many seconds."""

_HEADROOM: Final = 4.0
"""A pacer is built for so many times a learned rate, so that it is kept while the rate grows."""

_OVER_IN_A_SECOND: Final = 1.01
"""Limit of one second, of the configured rate; services take more: room for wrong estimates."""

_AMPLE_SHARE: Final = 0.1
"""Share of a quota: while no more is used, even estimates wrong by a factor of five fit it."""

_MOST_CREDIT_S: Final = 0.02
"""Seconds of the rate that may be made up when the service counted less than estimated."""


class Quota:
    """Admit amounts at the current rate; for one waiter at a time.

    Args:
        per_minute: The configured quota; None if nothing is known.
        grain_s: How many seconds of the rate pass at once; None for single units.

    Attributes:
        configured: The configured quota, in units a second; None if nothing is known.
        rate: The rate in use.
        windows: The last second and the last minute; empty if none is kept.
    """

    def __init__(self, per_minute: float | None, *, grain_s: float | None = None) -> None:
        self._grain_s = grain_s
        self._waited_at = -_BINDING_S
        self._pacer: Pacer | None = None
        self._debt = 0.0
        self.configured: float | None = None
        self.rate = AdaptiveRate(None)
        self.windows: tuple[()] | tuple[SlidingWindow, SlidingWindow] = ()
        self.set(per_minute)

    def __repr__(self) -> str:
        return (
            f"<Quota per_s={_rounded(self.rate.current)}"
            f" configured_per_s={_rounded(self.configured)}>"
        )

    def set(self, per_minute: float | None) -> None:
        """Change the configured quota, and forget what was learned under the one before."""
        configured = None if per_minute is None else per_minute / _MINUTE_S
        if configured == self.configured:
            return
        self.configured = configured
        self.rate = AdaptiveRate(configured, self.rate.version + 1)
        self._pacer = None
        if self._grain_s is None or configured is None:
            self.windows = ()
            return
        self.windows = self.windows or (SlidingWindow(1.0, 0), SlidingWindow(_MINUTE_S, 0))
        second, minute = self.windows
        second.limit, minute.limit = configured * _OVER_IN_A_SECOND, configured * _MINUTE_S

    def has_room(self, now: float, amount: float) -> bool:
        """Return whether `amount` fits both windows now."""
        if not self.windows:
            return True
        second, minute = self.windows
        return second.has_room(now, amount) and minute.has_room(now, amount)

    def is_ample(self, now: float, amount: float) -> bool:
        """Return whether so little of the quota is used that estimates do not matter."""
        current = self.rate.current
        if current is None:
            return True
        if current != self.configured:
            return False
        for window in self.windows:
            if not window.has_room(now, amount + (1 - _AMPLE_SHARE) * window.limit):
                return False
        return True

    def enter(self, now: float, amount: float) -> tuple[Entry, ...]:
        """Count `amount` in both windows; return its entries, for `correct`."""
        if not self.windows:
            return ()
        second, minute = self.windows
        return second.add(now, amount), minute.add(now, amount)

    def try_acquire(self, amount: float) -> bool:
        """Take `amount` if that needs no waiting and no call of the limiter; return whether."""
        rate = self.rate.current
        if rate is None:
            return True
        pacer = self._pacer
        if pacer is None or pacer.rate < rate:
            return False
        due = max(amount + self._debt, 0.0)
        if not pacer.try_acquire(due * pacer.rate / rate):
            return False
        self._debt += amount - due
        return True

    def release(self, amount: float) -> None:
        """Undo an acquisition that was not used."""
        if self._pacer is not None:
            self._debt -= amount

    async def acquire(self, amount: float) -> None:
        """Wait until `amount` may pass at the current rate."""
        rate = self.rate.current
        if rate is None:
            return
        if self._pacer is None or self._pacer.rate < rate:
            base = self.configured or _HEADROOM * rate
            grain = 1.0 if self._grain_s is None else base * self._grain_s
            self._pacer = Pacer(base, grain=grain)
        due = max(amount + self._debt, 0.0)
        self._debt += amount - due
        try:
            # At a lower rate than the pacer was built for, each unit takes the time of several.
            await self._pacer.acquire(due * self._pacer.rate / rate)
        except BaseException:  # cancelled: nothing passed, so there is no debt for it
            self._debt -= amount - due
            raise

    def record_wait(self, now: float) -> None:
        """Record that a request had to wait for this quota."""
        self._waited_at = now

    def record_success(self, now: float, amount: float, version: int) -> None:
        """Learn from an answer that `amount` was admitted for, under `version` of the rate."""
        binding = now - self._waited_at < _BINDING_S
        self.rate.record_success(now, amount, version, binding=binding)

    def correct(self, entries: Sequence[Entry], difference: float) -> None:
        """Adjust to the service's count, `difference` above the estimate; the pace makes up.

        The excess of an old estimate is lost: to use it now would exceed the quota of the next
        seconds.
        """
        if self._pacer is not None:
            credit = _MOST_CREDIT_S * (self.rate.current or self._pacer.rate)
            self._debt = max(self._debt + difference, min(self._debt, -credit))
        for window, entry in zip(self.windows, entries, strict=False):
            window.correct(entry, difference)


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1)
