"""The rate that all takers together may use: as configured, until a refusal; then as observed.

It is simpler than `AdaptiveRate`, which learns at once from its process's own requests: here
reports arrive from many processes, some hundredths of a second late, and a Lua script in Redis must
do the same (`ledger.lua`).
"""

from msgspec import Struct, field

_DEEPEST_CUT = 0.5
_SHALLOWEST_CUT = 0.85
_BELOW_OBSERVED = 0.98
_OBSERVED_S = 1.0
_NEAR = 0.98
_QUICK = 0.5
_FIRST_PROBE, _FASTEST_PROBE = 0.005, 0.1
_HOLD_PER_PAUSE = 40.0
_SHORTEST_HOLD_S, _LONGEST_HOLD_S = 10.0, 300.0
_UNKNOWN_RATE = 4.0


class LearnedRate(Struct):
    """One rate, of requests or of tokens, in units a second.

    A refusal cuts once per episode: reports carry the version of the rate that admitted the
    request. Growth is quick up to just below the rate that was refused, then there is none for a
    while, then it is slow and becomes faster.

    Attributes:
        configured: What the settings say; None if nothing is known.
        current: The rate in use; None for no limit.
        version: Changes with each cut.
    """

    configured: float | None = None
    current: float | None = None
    version: int = 0
    ceiling: float | None = None
    grows_from: float = 0.0
    grown_at: float = 0.0
    is_proven: bool = True
    served: list[tuple[float, float]] = field(default_factory=list)

    def configure(self, per_s: float | None) -> None:
        """Take another configured rate, and forget what was learned under the one before."""
        if per_s != self.configured:
            self.configured = self.current = per_s
            self.ceiling, self.is_proven, self.version = None, True, self.version + 1

    def succeed(self, now: float, amount: float, version: int) -> None:
        """Learn that `amount`, admitted under `version` of the rate, was served."""
        self.served = [one for one in self.served if one[0] > now - _OBSERVED_S]
        self.served.append((now, amount))
        if version != self.version:
            return
        self.is_proven = True
        since_s, self.grown_at = min(now - self.grown_at, _OBSERVED_S), now
        if self.ceiling is None or self.current is None:
            return
        if self.current < _NEAR * self.ceiling:
            self.current = min(self.current * (1 + _QUICK * since_s), _NEAR * self.ceiling)
        elif now >= self.grows_from:
            probe = min(_FIRST_PROBE * 2.0 ** min(now - self.grows_from, 10.0), _FASTEST_PROBE)
            self.current *= 1 + probe * since_s
        if self.configured is not None and self.current >= self.configured:
            self.current, self.ceiling = self.configured, None

    def refuse(self, now: float, version: int, pause_s: float) -> bool:
        """Lower the rate if this refusal says something new; return whether it does."""
        if version != self.version:
            return False
        self.version += 1
        observed = sum(amount for at, amount in self.served if at > now - _OBSERVED_S)
        refused = self.current
        if refused is None:
            self.current = max(_SHALLOWEST_CUT * observed, _UNKNOWN_RATE)
        elif self.is_proven:
            cut = min(_BELOW_OBSERVED * observed, _SHALLOWEST_CUT * refused)
            self.current = max(cut, _DEEPEST_CUT * refused)
        else:  # nothing got through since the last cut
            self.current = _DEEPEST_CUT * refused
        self.ceiling = refused or self.current
        hold_s = min(max(_HOLD_PER_PAUSE * pause_s, _SHORTEST_HOLD_S), _LONGEST_HOLD_S)
        self.grows_from, self.grown_at = now + pause_s + hold_s, now
        self.is_proven = False
        return True
