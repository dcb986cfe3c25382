"""A sliding window: the sum of what happened in the last seconds."""

from collections import deque
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns seconds since any moment, never going back."""


class SlidingWindow:
    """The sum of the amounts of the last `seconds`.

    Attributes:
        peak: The largest sum so far.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._arrivals: deque[tuple[float, int]] = deque()  # (time, amount), oldest first
        self._total = 0
        self.peak = 0

    def total(self, now: float) -> int:
        """Return the sum of the amounts added after `now` - `seconds`."""
        while self._arrivals and self._arrivals[0][0] <= now - self._seconds:
            self._total -= self._arrivals.popleft()[1]
        return self._total

    def add(self, now: float, amount: int = 1) -> None:
        """Add an amount at time `now`."""
        self._arrivals.append((now, amount))
        self._total += amount
        self.peak = max(self.peak, self.total(now))
