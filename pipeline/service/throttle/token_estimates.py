"""Estimate how many tokens the service will count, learned for each kind of text separately.

A single ratio would be wrong for the time of a round trip when the kind of texts changes: digits
count five times as much as the ratio of English predicts.
"""

from typing import Final

from msgspec import Struct

from pipeline.service.throttle.text_kind import TextKind

_LEARNING: Final = 0.02
"""Minimum weight of one answer in the ratio of its kind."""

_DOUBT: Final = 0.10
"""Margin added to a ratio based on one answer; a share 1/n of it to one based on n answers."""

_MOST_UNKNOWN: Final = 2.0
"""Cap on the ratio of an unknown kind, which is the highest of the others, at least 1."""

_MOST_KINDS: Final = 4_096


class _Ratio(Struct):
    """Counted tokens per token of the bound, and the number of answers that it is based on."""

    mean: float
    count: int


class TokenEstimates:
    """Estimates by kind of text; a kind without an answer is taken at its bound."""

    def __init__(self) -> None:
        self._ratios: dict[TextKind, _Ratio] = {}
        self._unknown = 1.0

    def estimate(self, kind: TextKind, tokens: int) -> float:
        """Return the tokens to expect of a request.

        Args:
            kind: Of its texts.
            tokens: Upper bound of its tokens.
        """
        ratio = self._ratios.get(kind)
        if ratio is None:
            return tokens * self._unknown
        return tokens * ratio.mean * (1 + _DOUBT / ratio.count)

    def record(self, kind: TextKind, tokens: int, counted: int) -> None:
        """Learn what the service counted.

        Args:
            kind: Of the request's texts.
            tokens: Upper bound of its tokens; 0 teaches nothing.
            counted: What the service counted.
        """
        if not tokens:
            return
        observed = counted / tokens
        ratio = self._ratios.get(kind)
        if ratio is None:
            if len(self._ratios) >= _MOST_KINDS:
                del self._ratios[next(iter(self._ratios))]
            ratio = self._ratios[kind] = _Ratio(observed, 0)
        ratio.count += 1
        ratio.mean += max(1 / ratio.count, _LEARNING) * (observed - ratio.mean)
        self._unknown = min(max(self._unknown, ratio.mean), _MOST_UNKNOWN)
