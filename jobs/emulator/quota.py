"""Quotas as the service holds them: over any sixty seconds, and a share of it over any one.

The service holds RPS = RPM / 60 and TPS = TPM / 60 besides the minute's quota
(alibabacloud.com/help/en/model-studio/, page `rate-limit`, read 2026-11-21).
"""

import math
from collections import deque
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since any moment, never going back."""

_MINUTE_S = 60.0


class SlidingWindow:
    """The sum of what came in the last `seconds`, and the largest it ever was."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._arrivals: deque[tuple[float, int]] = deque()  # (time, amount), oldest first
        self._total = 0
        self.peak = 0

    def total(self, now: float) -> int:
        """Sum what came after `now` - `seconds`."""
        while self._arrivals and self._arrivals[0][0] <= now - self._seconds:
            self._total -= self._arrivals.popleft()[1]
        return self._total

    def add(self, now: float, amount: int = 1) -> None:
        """Take in an amount."""
        self._arrivals.append((now, amount))
        self._total += amount
        self.peak = max(self.peak, self.total(now))


class Quota:
    """An amount per minute, none of it taken in advance.

    An amount of more than a window's whole limit is admitted when the window is empty.

    Args:
        per_minute: None admits everything.
        jitter_s: By how much both windows are shortened.
    """

    def __init__(self, per_minute: float | None, clock: Clock, jitter_s: float = 0.0) -> None:
        self._clock = clock
        self._windows: list[tuple[int, SlidingWindow]] = []
        if per_minute is not None:
            for seconds in (1.0, _MINUTE_S):
                limit = math.ceil(per_minute * seconds / _MINUTE_S)
                self._windows.append((limit, SlidingWindow(seconds - jitter_s)))

    def take(self, amount: int = 1) -> bool:
        """Take the amount if every window has room for it; say whether it was taken."""
        now = self._clock()
        totals = [(limit, window.total(now)) for limit, window in self._windows]
        if any(total and total + amount > limit for limit, total in totals):
            return False
        for _, window in self._windows:
            window.add(now, amount)
        return True
