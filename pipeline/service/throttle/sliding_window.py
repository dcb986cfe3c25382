"""The sum of what was admitted within the last second or minute.

An even pace alone lets one request too many into a window when requests are large (a request of
120,000 tokens is a lump in 150,000 a second). Lumps have to wait until the window has room.
"""

from collections import deque
from typing import Final

from msgspec import Struct

_TOGETHER: Final = 0.005
"""Amounts within this share of a period are one entry, so that there are few, at any rate."""
_TOGETHER_AT_MOST_S: Final = 0.05


class Entry(Struct):
    """What was admitted together, and when the last of it was; corrected once it is counted."""

    began_at: float
    admitted_at: float
    amount: float


class SlidingWindow:
    """Sums amounts over the last `period_s` seconds and keeps them within `limit`.

    An amount counts for up to 5 ms longer than a second, or 50 ms longer than a minute. Costs O(1)
    for each admission. An amount over the limit passes when the window is empty.
    """

    def __init__(self, period_s: float, limit: float) -> None:
        self.period_s = period_s
        self.limit = limit
        self._together_s = min(_TOGETHER * period_s, _TOGETHER_AT_MOST_S)
        self._entries: deque[Entry] = deque()
        self._sum = 0.0

    def has_room(self, now: float, amount: float) -> bool:
        """Whether `amount` fits now."""
        # Beside what is too old to count there is less room, so where that suffices, look no more.
        return self._sum + amount <= self.limit or not self.wait_s(now, amount)

    def wait_s(self, now: float, amount: float) -> float:
        """Seconds until `amount` fits, as far as known now; 0 if it does."""
        self._forget(now)
        over, wait_s = self._sum + amount - self.limit, 0.0
        if over <= 0:
            return 0.0
        for entry in self._entries:
            over -= entry.amount
            wait_s = entry.admitted_at - (now - self.period_s)
            if over <= 0:
                break
        return wait_s

    def add(self, now: float, amount: float) -> Entry:
        """Count an admission; the entry takes its correction."""
        entry = self._entries[-1] if self._entries else None
        if entry is None or now - entry.began_at > self._together_s:
            self._forget(now)
            entry = Entry(now, now, amount)
            self._entries.append(entry)
        else:
            entry.admitted_at = now
            entry.amount += amount
        self._sum += amount
        return entry

    def correct(self, entry: Entry, difference: float) -> None:
        """Add `difference` to an entry, which counts as long as it is in the window."""
        entry.amount += difference
        if self._entries and self._entries[0].admitted_at <= entry.admitted_at:
            self._sum += difference

    def _forget(self, now: float) -> None:
        """Take out what is too old to count."""
        horizon, entries = now - self.period_s, self._entries
        while entries and entries[0].admitted_at <= horizon:
            self._sum -= entries.popleft().amount
        if not entries:
            self._sum = 0.0  # no rounding error outlives a pause
