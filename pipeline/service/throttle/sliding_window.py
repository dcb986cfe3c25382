"""The sum of what was admitted within the last second or minute.

An even pace alone lets one request too many into a window when requests are large: a request of
120,000 tokens is most of a quota of 150,000 a second. Such a request waits until the window has
room for it.
"""

from collections import deque
from typing import Final

from msgspec import Struct

_MERGE_SHARE: Final = 0.005
"""Amounts within this share of a period become one entry, so that entries stay few."""
_MAX_MERGE_S: Final = 0.05


class Entry(Struct):
    """Amounts that were admitted together, from `began_at` to `admitted_at`, in seconds."""

    began_at: float
    admitted_at: float
    amount: float


class SlidingWindow:
    """Keep the sum of amounts over the last `period_s` seconds within `limit`.

    An amount counts for up to 5 ms longer than a second, or 50 ms longer than a minute. Each
    admission costs O(1). An amount over the limit passes when the window is empty.
    """

    def __init__(self, period_s: float, limit: float) -> None:
        self.period_s = period_s
        self.limit = limit
        self._merge_s = min(_MERGE_SHARE * period_s, _MAX_MERGE_S)
        self._entries: deque[Entry] = deque()
        self._sum = 0.0

    def has_room(self, now: float, amount: float) -> bool:
        """Return whether `amount` fits now."""
        # Expired entries only make the sum larger: if it fits with them, they need not be removed.
        return self._sum + amount <= self.limit or not self.wait_s(now, amount)

    def wait_s(self, now: float, amount: float) -> float:
        """Return the seconds until `amount` fits, as far as known now; 0 if it does."""
        self._remove_expired(now)
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
        """Count an admission; return its entry, for `correct`."""
        entry = self._entries[-1] if self._entries else None
        if entry is None or now - entry.began_at > self._merge_s:
            self._remove_expired(now)
            entry = Entry(now, now, amount)
            self._entries.append(entry)
        else:
            entry.admitted_at = now
            entry.amount += amount
        self._sum += amount
        return entry

    def correct(self, entry: Entry, difference: float) -> None:
        """Add `difference` to an entry, if it is still in the window to its sum as well."""
        entry.amount += difference
        if self._entries and self._entries[0].admitted_at <= entry.admitted_at:
            self._sum += difference

    def _remove_expired(self, now: float) -> None:
        horizon, entries = now - self.period_s, self._entries
        while entries and entries[0].admitted_at <= horizon:
            self._sum -= entries.popleft().amount
        if not entries:
            self._sum = 0.0  # drop the rounding error
