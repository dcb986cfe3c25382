"""One kind of quota, requests or tokens a minute: its told rate, what is learned, and its pace."""

from collections.abc import Sequence
from typing import Final

from pipeline.service.throttle.adaptive_rate import AdaptiveRate
from pipeline.service.throttle.pacer import Pacer
from pipeline.service.throttle.sliding_window import Entry, SlidingWindow

_MINUTE_S: Final = 60.0
_BINDING_S: Final = 1.0
"""A rate binds while a request had to wait for it within so many seconds."""

_HEADROOM: Final = 4.0
"""Of a pace built for a learned rate, so that it need not be built anew while the rate grows."""

_OVER_IN_A_SECOND: Final = 1.05


class Quota:
    """Admits amounts at the learned rate; for one waiter at a time.

    Args:
        per_minute: The told quota; None if nothing is known.
        grain_s: How many seconds of the rate pass at once; None for single units.

    Attributes:
        told: The told quota, in units a second.
        learned: The rate that is used.
        windows: The last second and the last minute; empty where none is kept.
    """

    def __init__(self, per_minute: float | None, *, grain_s: float | None = None) -> None:
        self._grain_s = grain_s
        self._bound_at = -_BINDING_S
        self._pace: Pacer | None = None
        self._owed = 0.0
        self.told: float | None = None
        self.learned = AdaptiveRate(None)
        self.windows: tuple[()] | tuple[SlidingWindow, SlidingWindow] = ()
        self.set(per_minute)

    def set(self, per_minute: float | None) -> None:
        """Change the told quota; what was learned before no longer counts."""
        told = None if per_minute is None else per_minute / _MINUTE_S
        if told == self.told:
            return
        self.told = told
        self.learned = AdaptiveRate(told, self.learned.version + 1)
        self._pace = None
        if self._grain_s is None or told is None:
            self.windows = ()
            return
        self.windows = self.windows or (SlidingWindow(1.0, 0), SlidingWindow(_MINUTE_S, 0))
        second, minute = self.windows
        second.limit, minute.limit = told * _OVER_IN_A_SECOND, told * _MINUTE_S

    def has_room(self, now: float, amount: float) -> bool:
        """Whether `amount` fits both windows now."""
        if not self.windows:
            return True
        second, minute = self.windows
        return second.has_room(now, amount) and minute.has_room(now, amount)

    def enter(self, now: float, amount: float) -> tuple[Entry, ...]:
        """Count `amount` in both windows; its entries take the correction."""
        if not self.windows:
            return ()
        second, minute = self.windows
        return second.add(now, amount), minute.add(now, amount)

    def try_acquire(self, amount: float) -> bool:
        """Take `amount` if that takes no waiting and no look at the pace; else False."""
        rate = self.learned.rate
        if rate is None:
            return True
        pace = self._pace
        if pace is None or pace.rate < rate:
            return False
        due = max(amount + self._owed, 0.0)
        if not pace.try_acquire(due * pace.rate / rate):
            return False
        self._owed += amount - due
        return True

    def release(self, amount: float) -> None:
        """Undo a `try_acquire` of which no use was made."""
        if self._pace is not None:
            self._owed -= amount

    async def take(self, amount: float) -> None:
        """Wait until `amount` may pass at the present rate."""
        rate = self.learned.rate
        if rate is None:
            return
        if self._pace is None or self._pace.rate < rate:
            base = self.told or _HEADROOM * rate
            grain = 1.0 if self._grain_s is None else base * self._grain_s
            self._pace = Pacer(base, grain=grain)
        due = max(amount + self._owed, 0.0)
        self._owed += amount - due
        try:
            # A slower rate than the pace was built for: each unit takes the time of several.
            await self._pace.take(due * self._pace.rate / rate)
        except BaseException:  # cancelled: nothing passed, so nothing is owed for it
            self._owed -= amount - due
            raise

    def bound(self, now: float) -> None:
        """Note that a request had to wait for this quota."""
        self._bound_at = now

    def granted(self, now: float, amount: float, version: int) -> None:
        """Learn from a success."""
        binding = now - self._bound_at < _BINDING_S
        self.learned.granted(now, amount, version, binding=binding)

    def correct(self, entries: Sequence[Entry], difference: float) -> None:
        """Follow what the service counted, `difference` more than estimated; the pace makes up."""
        if self._pace is not None:
            self._owed += difference
        for window, entry in zip(self.windows, entries, strict=False):
            window.correct(entry, difference)
