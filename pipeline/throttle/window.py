"""The exact sum of what was admitted within the last second or minute.

An even pace alone lets one request too many into a window when requests are large (a request of
120,000 tokens is a lump in 150,000 a second). Lumps have to wait until the window has room.
"""

from collections import deque
from typing import Final

from msgspec import Struct

_TOGETHER_S: Final = 0.005
"""Amounts so close together are one entry, so that a window holds few, however fast it goes."""


class Entry(Struct):
    """What was admitted together, and when the last of it was; corrected once it is counted."""

    began_at: float
    admitted_at: float
    amount: float


class SlidingWindow:
    """Sums amounts over the last `period_s` seconds and keeps them within `limit`.

    An amount counts for up to 5 ms longer than the period. Costs O(1) for each admission. An amount
    over the limit passes when the window is empty.
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
        if over <= 0:
            return 0.0
        for entry in entries:
            over -= entry.amount
            wait_s = entry.admitted_at - horizon
            if over <= 0:
                break
        return wait_s

    def add(self, now: float, amount: float) -> Entry:
        """Count an admission; the entry takes its correction."""
        self._sum += amount
        entry = self._entries[-1] if self._entries else None
        if entry is None or now - entry.began_at > _TOGETHER_S:
            entry = Entry(now, now, amount)
            self._entries.append(entry)
        else:
            entry.admitted_at = now
            entry.amount += amount
        return entry

    def correct(self, entry: Entry, difference: float) -> None:
        """Add `difference` to an entry, which counts as long as it is in the window."""
        entry.amount += difference
        if self._entries and self._entries[0].admitted_at <= entry.admitted_at:
            self._sum += difference
