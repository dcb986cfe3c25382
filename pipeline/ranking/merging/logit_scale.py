"""The logit scale, on which the score functions of two requests differ by nearly a straight line.

Invariant: the transforms are non-decreasing, and finite for every score of the group.
"""

from typing import Final

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray

NOISE: Final = 0.1
"""Standard deviation of a logit that is assumed even where scores repeat exactly."""
MAX_DIGITS: Final = 15
"""Decimals from which a score counts as a full float64, not as a rounded decimal."""
FINEST_QUANTUM: Final = 1e-12
"""The step that is assumed for full float64 scores."""


class LogitScale(Struct, frozen=True):
    """Converts a group's scores into logits and back.

    Attributes:
        quantum: The step that scores are rounded to; None if the scores are logits themselves.
    """

    quantum: float | None

    @classmethod
    def of(cls, scores: FloatArray) -> "LogitScale":
        """Return the scale of a group's scores: probabilities if all are in [0, 1], else logits."""
        if not ((scores >= 0) & (scores <= 1)).all():
            return cls(None)
        for digits in range(1, MAX_DIGITS):
            # Division is correctly rounded, so every decimal of so many digits is reproduced.
            if (np.rint(scores * 10.0**digits) / 10.0**digits == scores).all():
                return cls(10.0**-digits)
        return cls(FINEST_QUANTUM)

    def logit(self, scores: FloatArray) -> FloatArray:
        """Return the logits of scores; scores are clipped to half a quantum from 0 and 1."""
        if self.quantum is None:
            return scores
        inside = np.clip(scores, self.quantum / 2, 1 - self.quantum / 2)
        return np.log(inside / (1 - inside))

    def score(self, logits: FloatArray) -> FloatArray:
        """Return the scores of logits, the inverse of `logit`."""
        if self.quantum is None:
            return logits
        return np.exp(-np.logaddexp(0, -logits))

    def weight(self, scores: FloatArray) -> FloatArray:
        """Return the precision (1 / variance) of the logits; 0 for saturated or missing scores.

        The variance is that of the noise plus that of rounding, q^2 / 12, divided by the squared
        slope of the sigmoid. A score within 1.5 quanta of 0 or 1 is saturated.
        """
        if self.quantum is None:
            return np.where(np.isfinite(scores), NOISE**-2, 0.0)
        q = self.quantum
        inside = np.clip(scores, q, 1 - q)
        slope = inside * (1 - inside)
        weight = 1 / (NOISE**2 + q * q / 12 / (slope * slope))
        usable = (scores >= 1.5 * q) & (scores <= 1 - 1.5 * q)
        return np.where(usable, weight, 0.0)
