"""The logit scale, on which a change of a request's score function is nearly a straight line.

Invariant: transforms are non-decreasing, and finite for every score of the group.
"""

from typing import Final

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray

NOISE: Final = 0.1
"""Standard deviation of a logit that is taken for granted, even between exact repeats."""
MAX_DIGITS: Final = 15
"""From here on a score is a full float64 rather than a rounded decimal ..."""
FINEST_QUANTUM: Final = 1e-12
"""... and this its step."""


class LogitScale(Struct, frozen=True):
    """How a group's scores become logits.

    Attributes:
        quantum: the step that scores are rounded to; None where scores are logits themselves.
    """

    quantum: float | None

    @classmethod
    def of(cls, scores: FloatArray) -> "LogitScale":
        """Recognise the scale of a group's scores: logits, or rounded probabilities."""
        if not ((scores >= 0) & (scores <= 1)).all():
            return cls(None)
        for digits in range(1, MAX_DIGITS):
            # correctly rounded division gives back every decimal of so many digits exactly
            if (np.rint(scores * 10.0**digits) / 10.0**digits == scores).all():
                return cls(10.0**-digits)
        return cls(FINEST_QUANTUM)

    def logit(self, scores: FloatArray) -> FloatArray:
        """The logits of scores; 0 and 1 are taken for half a quantum inside."""
        if self.quantum is None:
            return scores
        inside = np.clip(scores, self.quantum / 2, 1 - self.quantum / 2)
        return np.log(inside / (1 - inside))

    def score(self, logits: FloatArray) -> FloatArray:
        """The scores of logits, the inverse of `logit`."""
        if self.quantum is None:
            return logits
        return np.exp(-np.logaddexp(0, -logits))

    def weight(self, scores: FloatArray) -> FloatArray:
        """The precision (1 / variance) of scores as logits; 0 for saturated or missing ones."""
        if self.quantum is None:
            return np.where(np.isfinite(scores), NOISE**-2, 0.0)
        q = self.quantum
        inside = np.clip(scores, q, 1 - q)
        slope = inside * (1 - inside)  # of the sigmoid: a rounding error of q**2 / 12 over it
        weight = 1 / (NOISE**2 + q * q / 12 / (slope * slope))
        usable = (scores >= 1.5 * q) & (scores <= 1 - 1.5 * q)
        return np.where(usable, weight, 0.0)
