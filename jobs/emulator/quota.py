"""Quotas as the service enforces them: per minute, and a sixtieth of that per second.

RPS = RPM / 60 and TPS = TPM / 60 hold besides the quotas per minute
(alibabacloud.com/help/en/model-studio/, page `rate-limit`, read 2026-11-21).
"""

import math

from jobs.emulator.sliding_window import Clock, SlidingWindow

_MINUTE_S = 60.0


class Quota:
    """Admits an amount per minute.

    An amount over a window's whole limit is admitted when the window is empty.

    Args:
        per_minute: The quota; None admits everything.
        clock: Seconds.
        jitter_s: Seconds by which both windows are shortened.
    """

    def __init__(self, per_minute: float | None, clock: Clock, jitter_s: float = 0.0) -> None:
        self._clock = clock
        self._windows: list[tuple[int, SlidingWindow]] = []
        if per_minute is not None:
            for seconds in (1.0, _MINUTE_S):
                limit = math.ceil(per_minute * seconds / _MINUTE_S)
                self._windows.append((limit, SlidingWindow(seconds - jitter_s)))

    def take(self, amount: int = 1) -> bool:
        """Take the amount if every window has room for it, and return whether it was taken."""
        now = self._clock()
        totals = [(limit, window.total(now)) for limit, window in self._windows]
        if any(total and total + amount > limit for limit, total in totals):
            return False
        for _, window in self._windows:
            window.add(now, amount)
        return True
