"""What rate the service really grants: as told, until it refuses; then what it was seen to grant.

Decides without a clock of its own and without waiting. A refusal cuts once for each episode:
requests carry the version of the rate that they were admitted under, so those sent at an old rate
say nothing about the new one, and a new rate must have had a success before it can be cut in turn.
Growth is clocked by answers and happens only while the rate is what binds: quickly back to just
below the ceiling, where refusals began; then not for a while; then beyond, ever faster.
"""

import math
from collections import deque
from typing import Final

from msgspec import Struct

_DEEPEST_CUT: Final = 0.48
_SHALLOWEST_CUT: Final = 0.85
_CUT_AT_CEILING: Final = 0.95
_GENTLE_CUTS: Final = 3
"""A refused probe is near the truth, so so many cuts from there on are small."""

_BELOW_SEEN: Final = 0.98
"""A rate just below what was granted in the last second."""

_FEW: Final = 5
_LONG_AGO_S: Final = 10.0
"""Few grants say nothing about the rate, unless a refusal soon after another says it again."""

_UNTOLD_CUT: Final = 0.8
_LEAST: Final = 4.0
"""Requests a second, each as large as the refused one, that an unknown service is trusted with."""

_NEAR: Final = 0.98
"""Share of the ceiling up to which growth is quick."""

_QUICK: Final = 0.5
_FIRST_PROBE: Final = 0.005
_FASTEST_PROBE: Final = 0.1
"""Growth within a second, as a share of the rate; a probe's doubles with each second."""

_HOLD_FOR_PAUSE: Final = 40.0
"""A refused probe costs a pause, so probes keep a distance of so many pauses: a loss of 2.5 %."""

_SHORTEST_HOLD_S: Final = 10.0
_LONGEST_HOLD_S: Final = 300.0
_SEEN_S: Final = 1.0
_TOGETHER_S: Final = 0.005
"""Grants so close together are noted as one, so that a second holds few."""


class _Granted(Struct):
    """Grants that came together: since when, how many, how much."""

    at: float
    count: int
    amount: float


class AdaptiveRate:
    """The present rate of one kind (requests or tokens), in units a second; at most the told one.

    Attributes:
        told: What the settings say; None if they say nothing.
        rate: What is used now; None means no limit is known.
        version: Changes with each refusal that is news.
    """

    def __init__(self, told: float | None, version: int = 0) -> None:
        self.told = told
        self.rate = told
        self.version = version
        self._ceiling = math.inf
        self._probes_from = -math.inf
        self._hold_s = 0.0
        self._quick = _QUICK
        self._grown_at = -math.inf
        self._proven = True
        self._gentle_cuts = 0
        self._refused_at = -math.inf
        self._granted: deque[_Granted] = deque()
        self._num_granted = 0
        self._granted_sum = 0.0

    def granted(self, now: float, amount: float, version: int, *, binding: bool) -> None:
        """Learn from a success: `amount` was admitted under `version` of the rate.

        Args:
            now: The present time in seconds.
            amount: Requests or tokens that were served.
            version: Of the rate that admitted them.
            binding: Whether requests had to wait for this rate just now.
        """
        self._add(now, amount)
        if version != self.version:
            return
        self._proven = True
        if self.rate is None or (self.told is not None and self.rate >= self.told):
            return
        since_s, self._grown_at = now - self._grown_at, now
        if binding:
            self._grow(self.rate, now, min(since_s, _SEEN_S))

    def refused(
        self,
        now: float,
        amount: float,
        version: int,
        *,
        pause_s: float,
        for_growth: bool = False,
    ) -> bool:
        """Cut the rate, if this refusal is news about it; tells whether it is news.

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
        if not self._proven:
            return True  # nothing got through since the last cut: time is missing, not a cut
        self._proven = False
        self._forget(now)
        if for_growth and self.rate is not None:
            self.rate *= _DEEPEST_CUT
            self._quick = max(self._quick / 2, _FIRST_PROBE)
        else:
            self._cut(now, amount, pause_s)
        self._grown_at = now
        return True

    def _cut(self, now: float, amount: float, pause_s: float) -> None:
        refused, seen = self.rate, self._granted_sum / _SEEN_S
        if refused is None:
            # The first seconds of an unknown service say little, so there is no ceiling yet.
            self.rate = _UNTOLD_CUT * max(seen, _LEAST * amount)
            return
        hold_s = max(_HOLD_FOR_PAUSE * pause_s, _SHORTEST_HOLD_S)
        if now >= self._probes_from > -math.inf and refused >= _NEAR * self._ceiling:
            self._gentle_cuts = _GENTLE_CUTS
            hold_s = max(hold_s, 2 * self._hold_s)
        if self._gentle_cuts:
            self._gentle_cuts -= 1
            self.rate, self._ceiling = _CUT_AT_CEILING * refused, refused
        elif self._num_granted < _FEW and now - self._refused_at > _LONG_AGO_S:
            self.rate, self._ceiling = _SHALLOWEST_CUT * refused, refused
        else:
            cut = min(_BELOW_SEEN * seen, _SHALLOWEST_CUT * refused)
            self.rate = max(cut, _DEEPEST_CUT * refused)
            self._ceiling = min(refused, max(seen, self.rate))
        self._refused_at = now
        self._hold_s = min(hold_s, _LONGEST_HOLD_S)
        self._probes_from = now + pause_s + self._hold_s

    def _grow(self, rate: float, now: float, since_s: float) -> None:
        near = _NEAR * self._ceiling
        if rate < near:
            rate = min(rate * (1 + self._quick * since_s), near)
        elif now >= self._probes_from:
            doublings = min(now - self._probes_from, 10.0)
            rate *= 1 + min(_FIRST_PROBE * 2**doublings, _FASTEST_PROBE) * since_s
        self.rate = rate if self.told is None else min(rate, self.told)

    def _add(self, now: float, amount: float) -> None:
        self._num_granted += 1
        self._granted_sum += amount
        last = self._granted[-1] if self._granted else None
        if last is not None and now - last.at <= _TOGETHER_S:
            last.count += 1
            last.amount += amount
            return
        self._granted.append(_Granted(now, 1, amount))
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._granted and self._granted[0].at < now - _SEEN_S:
            gone = self._granted.popleft()
            self._num_granted -= gone.count
            self._granted_sum -= gone.amount
