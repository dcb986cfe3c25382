"""The rate that the service really grants: as configured until a refusal, then as observed.

The caller passes the time; nothing here waits. A refusal cuts once per episode: requests
carry the version of the rate that admitted them, so those sent at an old rate say nothing about the
new one, and a new rate must have had a success before it can be cut in turn. The rate grows with
answers, and only while it is the limit that binds: quickly to just below the ceiling, where
refusals began; then not for a while; then beyond it, ever faster.
"""

import math
from collections import deque
from typing import Final

from msgspec import Struct

_DEEPEST_CUT: Final = 0.48
_SHALLOWEST_CUT: Final = 0.85
_CUT_AT_CEILING: Final = 0.95
_GENTLE_CUTS: Final = 3
"""A refused probe is near the true rate, so this many cuts from there on are small."""

_BELOW_OBSERVED: Final = 0.98
"""A rate just below what was granted in the last second."""

_FEW: Final = 5
_LONG_AGO_S: Final = 10.0
"""Fewer grants say little about the rate, unless refusals follow each other this closely."""

_UNKNOWN_CUT: Final = 0.8
_LEAST_PER_S: Final = 4.0
"""Requests a second, each as large as the refused one, that an unknown service is trusted with."""

_NEAR: Final = 0.98
"""Share of the ceiling up to which growth is quick."""

_QUICK: Final = 0.5
_FIRST_PROBE: Final = 0.005
_FASTEST_PROBE: Final = 0.1
"""Growth within a second, as a share of the rate; a probe's growth doubles every second."""

_HOLD_PER_PAUSE: Final = 40.0
"""A refused probe costs a pause, so probes are this many pauses apart: a loss of 2.5 %."""

_SHORTEST_HOLD_S: Final = 10.0
_LONGEST_HOLD_S: Final = 300.0
_HOLD_AFTER_MEASURING_S: Final = 2.0

_IN_VAIN: Final = 2
"""After so many pauses in a row without a success, the rate is measured."""

_FAR: Final = 0.5
"""A measured rate is rough, so it counts only if it is this much lower than the one in use."""

_FASTEST_CLIMB: Final = 0.5
_CLIMB_AFTER_REFUSAL: Final = 0.7
_SLOWEST_CLIMB: Final = 0.25
"""Growth after a refusal for growth: its exponent per second (0.5: 1.65 times a second), what is
left of it after each further refusal, and the least of it."""

_OF_OBSERVED: Final = 0.8
"""Share of what was just granted that the climb begins with: the pause has left a gap behind."""

_LEAST_CLIMBING: Final = 1.0
"""Units a second from which the rate climbs at least."""

_OBSERVED_S: Final = 1.0
_MERGE_S: Final = 0.005
"""Grants this close together become one entry, so that a second has few."""


class _Granted(Struct):
    """Grants that came together: since when, how many, how much."""

    at: float
    count: int
    amount: float


class AdaptiveRate:
    """The current rate of requests or tokens, in units a second; at most the configured one.

    Attributes:
        configured: The configured rate; None if nothing is known.
        current: The rate in use; None means that no limit is known.
        version: Changes with each refusal that says something new.
        is_measuring: The rate is far too high: send one request at a time until one is served.
    """

    def __init__(self, configured: float | None, version: int = 0) -> None:
        self.configured = configured
        self.current = configured
        self.version = version
        self._ceiling = math.inf
        self._probes_from = -math.inf
        self._hold_s = 0.0
        self._climb = 0.0
        self._trouble_since = -math.inf
        self._trouble_sum = 0.0
        self._began_at: float | None = None
        self._grown_at = -math.inf
        self.is_measuring = False
        self._is_proven = True
        self._in_vain = 0
        self._gentle_cuts = 0
        self._refused_at = -math.inf
        self._granted: deque[_Granted] = deque()
        self._num_granted = 0
        self._granted_sum = 0.0

    def granted_per_s(self, now: float) -> float:
        """Return what was granted in the last second."""
        self._remove_expired(now)
        return self._granted_sum / _OBSERVED_S

    def record_success(self, now: float, amount: float, version: int, *, binding: bool) -> None:
        """Learn that `amount`, admitted under `version` of the rate, was served.

        Args:
            now: The present time in seconds.
            amount: Requests or tokens that were served.
            version: Of the rate that admitted them.
            binding: Whether requests had to wait for this rate just now.
        """
        self._add(now, amount)
        if version != self.version:
            return
        if not self._is_proven:
            self._is_proven, self._in_vain = True, 0
            if self.is_measuring:
                self._measure(now, amount)
        if self.current is None or (
            self.configured is not None and self.current >= self.configured
        ):
            return
        since_s, self._grown_at = now - self._grown_at, now
        if binding:
            self._grow(self.current, now, min(since_s, _OBSERVED_S))

    def record_refusal(
        self,
        now: float,
        amount: float,
        version: int,
        *,
        pause_s: float,
        for_growth: bool = False,
    ) -> bool:
        """Cut the rate if this refusal says something new about it; return whether it does.

        Args:
            now: The present time in seconds.
            amount: What was refused.
            version: Of the rate that admitted it.
            pause_s: What the refusal costs.
            for_growth: The rate grew too fast, but is not itself too high.
        """
        if version != self.version:
            return False
        self.version += 1
        if not self._is_proven:
            self._in_vain += 1
            self.is_measuring = self.is_measuring or self._in_vain >= _IN_VAIN
            return True  # nothing got through since the last cut: it takes time, not another cut
        self._is_proven = False
        self._remove_expired(now)
        began_at = now if self._began_at is None else self._began_at
        self._trouble_since = max(now - _OBSERVED_S, began_at)
        self._trouble_sum = self._granted_sum
        self.is_measuring = not for_growth and self._num_granted < _FEW
        if for_growth and self.current is not None:
            observed = _OF_OBSERVED * self.granted_per_s(now)
            self.current = min(max(observed, _LEAST_CLIMBING * amount), self.current)
            climb = self._climb * _CLIMB_AFTER_REFUSAL
            self._climb = max(climb, _SLOWEST_CLIMB) if climb else _FASTEST_CLIMB
        else:
            self._cut(now, amount, pause_s)
        self._grown_at = now
        return True

    def _measure(self, now: float, amount: float) -> None:
        """Take the rate that was granted since the refusals began, if it is lower.

        After the pauses in which nothing was granted that is what the service grants, whether it
        counts by the second or by the minute. If `amount` is all that it granted, it refused
        everything for a while, which says nothing about its rate.
        """
        self.is_measuring = False
        if self._trouble_sum <= amount:
            return
        measured = self._trouble_sum / max(now - self._trouble_since, _OBSERVED_S)
        if self.current is not None and measured < _FAR * self.current:
            self.current, self._ceiling = measured, measured / _NEAR
            self._hold_s = _HOLD_AFTER_MEASURING_S
            self._probes_from = now + self._hold_s

    def _cut(self, now: float, amount: float, pause_s: float) -> None:
        refused, observed = self.current, self._granted_sum / _OBSERVED_S
        if refused is None:
            # The first seconds of an unknown service say little, so there is no ceiling yet.
            self.current = _UNKNOWN_CUT * max(observed, _LEAST_PER_S * amount)
            return
        hold_s = max(_HOLD_PER_PAUSE * pause_s, _SHORTEST_HOLD_S)
        if now >= self._probes_from and refused >= _NEAR * self._ceiling:
            self._gentle_cuts = _GENTLE_CUTS
            hold_s = max(hold_s, 2 * self._hold_s)
        if self._gentle_cuts:
            self._gentle_cuts -= 1
            self.current, self._ceiling = _CUT_AT_CEILING * refused, refused
        elif self._num_granted < _FEW and now - self._refused_at > _LONG_AGO_S:
            self.current, self._ceiling = _SHALLOWEST_CUT * refused, refused
        else:
            cut = min(_BELOW_OBSERVED * observed, _SHALLOWEST_CUT * refused)
            self.current = max(cut, _DEEPEST_CUT * refused)
            self._ceiling = min(refused, max(observed, self.current))
        self._refused_at = now
        self._hold_s = min(hold_s, _LONGEST_HOLD_S)
        self._probes_from = now + pause_s + self._hold_s

    def _grow(self, rate: float, now: float, since_s: float) -> None:
        near = _NEAR * self._ceiling
        if rate < near:
            growth = math.expm1(self._climb * since_s) if self._climb else _QUICK * since_s
            rate = min(rate * (1 + growth), near)
        elif now >= self._probes_from:
            doublings = min(now - self._probes_from, 10.0)
            rate *= 1 + min(_FIRST_PROBE * 2**doublings, _FASTEST_PROBE) * since_s
        self.current = rate if self.configured is None else min(rate, self.configured)

    def _add(self, now: float, amount: float) -> None:
        if self._began_at is None:
            self._began_at = now
        self._num_granted += 1
        self._granted_sum += amount
        self._trouble_sum += amount
        last = self._granted[-1] if self._granted else None
        if last is not None and now - last.at <= _MERGE_S:
            last.count += 1
            last.amount += amount
            return
        self._granted.append(_Granted(now, 1, amount))
        self._remove_expired(now)

    def _remove_expired(self, now: float) -> None:
        while self._granted and self._granted[0].at < now - _OBSERVED_S:
            expired = self._granted.popleft()
            self._num_granted -= expired.count
            self._granted_sum -= expired.amount
