"""The exact sum of what was admitted within the last second or minute.

An even pace alone lets one request too many into a window when requests are large (a request of
120,000 tokens is a lump in 150,000 a second). Lumps have to wait until the window has room.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class Entry:
    """What one request weighs in the window; corrected once the service has counted it."""

    admitted_at: float
    amount: float


class SlidingWindow:
    """Sums amounts over the last `period_s` seconds and keeps them within `limit`.

    Costs O(1) for each admission. An amount over the limit passes when the window is empty.
    """

    def __init__(self, period_s: float, limit: float) -> None:
        self.period_s = period_s
        self.limit = limit
        self._entries: deque[Entry] = deque()
        self._sum = 0.0

    def wait_s(self, now: float, amount: float) -> float:
        """Seconds until `amount` fits, as far as known now; 0 if it does."""
        horizon = now - self.period_s
        entries = self._entries
        while entries and entries[0].admitted_at <= horizon:
            self._sum -= entries.popleft().amount
        if not entries:
            self._sum = 0.0  # no rounding error outlives a pause
            return 0.0
        over, wait_s = self._sum + amount - self.limit, 0.0
        for entry in entries:
            if over <= 0:
                break
            over -= entry.amount
            wait_s = entry.admitted_at - horizon
        return wait_s

    def add(self, entry: Entry) -> None:
        """Count an admission."""
        self._entries.append(entry)
        self._sum += entry.amount

    def correct(self, entry: Entry, difference: float) -> None:
        """Follow a correction of `entry` by `difference`, if the entry is still in the window."""
        if self._entries and self._entries[0].admitted_at <= entry.admitted_at:
            self._sum += difference
