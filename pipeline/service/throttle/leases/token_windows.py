"""The tokens of the slots of the last minute, so that no second and no minute holds too many."""

from bisect import bisect_right

from msgspec import Struct, field

_SECOND_S, _MINUTE_S = 1.025, 60.05
"""A little longer than they are, since one slot may be used late and the next in time."""
_OVER_IN_A_SECOND = 1.04
_MINUTE = 60.0
_SAME_S = 1e-6
_MERGE_S, _MERGE_LONG_S = 0.01, 0.5


class Entry(Struct, array_like=True):
    """Tokens from a moment on, to `last`."""

    at: float
    last: float
    tokens: float


class TokenWindows(Struct):
    """Tokens by moment, over the last second in steps of 10 ms and the last minute of 0.5 s."""

    second: list[Entry] = field(default_factory=list)
    minute: list[Entry] = field(default_factory=list)

    def earliest(self, at: float, tokens: float, per_s: float) -> float:
        """Return the first moment from `at` on at which so many tokens fit.

        More than a window's limit fit when the window is empty.
        """
        at = _earliest(self.second, at, tokens, _SECOND_S, per_s * _OVER_IN_A_SECOND)
        return _earliest(self.minute, at, tokens, _MINUTE_S, per_s * _MINUTE)

    def add(self, at: float, tokens: float) -> None:
        """Count the tokens of a slot; moments do not go back."""
        _add(self.second, at, tokens, _SECOND_S, _MERGE_S)
        _add(self.minute, at, tokens, _MINUTE_S, _MERGE_LONG_S)

    def correct(self, at: float, difference: float) -> None:
        """Count so many more tokens at a moment that was added before."""
        for entries in (self.second, self.minute):
            index = bisect_right(entries, at + _SAME_S, key=lambda entry: entry.at) - 1
            if index >= 0 and entries[index].last >= at - _MERGE_S:
                entries[index].tokens += difference


def _earliest(
    entries: list[Entry], at: float, tokens: float, period_s: float, limit: float
) -> float:
    inside = [entry for entry in entries if entry.last > at - period_s]
    over = sum(entry.tokens for entry in inside) + tokens - limit
    for entry in inside:
        if over <= 0:
            break
        over -= entry.tokens
        at = max(at, entry.last + period_s)
    return at


def _add(entries: list[Entry], at: float, tokens: float, period_s: float, merge_s: float) -> None:
    if entries and at - entries[-1].at <= merge_s:
        entries[-1].last = max(entries[-1].last, at)
        entries[-1].tokens += tokens
        return
    while entries and entries[0].last <= at - period_s - merge_s:
        entries.pop(0)
    entries.append(Entry(at, at, tokens))
