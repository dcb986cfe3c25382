"""The share scale: a value says which share of the group is below a score.

Only the order of the scores counts, so values are spread evenly whatever the scores are. Scores
between those of the group are interpolated.
"""

from typing import Final

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray
from pipeline.ranking.merging.first_round import FirstRound

SQRT_12: Final = float(np.sqrt(12))
"""Width of a uniform distribution, in standard deviations."""
LOGISTIC_SD: Final = float(np.pi / np.sqrt(3))
"""Standard deviation of the logistic distribution: that of the log-odds of a uniform share."""
KNOT_DISTANCE: Final = 0.5
"""Least distance of the knots of a share scale, in spreads; finer ones would fit noise."""


class ShareScale(Struct, frozen=True, eq=False):
    """The log-odds of the share of the group below a score, linear between knots.

    Attributes:
        resolution: The step that scores are rounded to; 0 if they are not.
        scores: Ascending scores between those of the group.
        values: Their values, ascending.
        blocks: Between each two of them, the width of the block of equal scores; 0 for different
            scores.
    """

    resolution: float
    scores: FloatArray
    values: FloatArray
    blocks: FloatArray

    @property
    def spread(self) -> float:
        """One spread in log-odds."""
        return LOGISTIC_SD

    @classmethod
    def of(cls, first: FirstRound, resolution: float) -> "ShareScale":
        """Return the scale of a group; the scores of an anchor count together as one document."""
        repeats = np.isfinite(first.anchor_scores)
        weights = repeats / repeats.sum(axis=1, keepdims=True)
        others = first.scored[~np.isin(first.scored, first.anchors)]
        scores = np.concatenate((first.score[others], first.anchor_scores[repeats]))
        distinct, inverse = np.unique(scores, return_inverse=True)
        count = np.concatenate((np.ones(len(others)), weights[repeats]))
        below = np.cumsum(np.bincount(inverse, count))
        if len(distinct) == 1:
            middle = np.concatenate((distinct - 1, distinct + 1))
        else:
            middle = (distinct[1:] + distinct[:-1]) / 2
            middle = np.concatenate(
                ([2 * distinct[0] - middle[0]], middle, [2 * distinct[-1] - middle[-1]])
            )
        # Half a document below the lowest score and above the highest one.
        total = below[-1]
        share = np.clip(np.concatenate(([0.0], below)) / total, 0.25 / total, 1 - 0.25 / total)
        value = np.log(share / (1 - share)) / LOGISTIC_SD
        knots = _knots(value)
        blocks = np.where(np.diff(knots) == 1, np.diff(value[knots]), 0.0)
        return cls(resolution, middle[knots], value[knots], blocks)

    def value(self, scores: FloatArray) -> FloatArray:
        """Return the values of scores."""
        return np.interp(scores, self.scores, self.values)

    def score(self, values: FloatArray) -> FloatArray:
        """Return the scores of values."""
        return np.interp(values, self.values, self.scores)

    def rounding(self, scores: FloatArray) -> FloatArray:
        """Return the standard deviations of the values' rounding errors.

        Equal scores count as rounded: a score is known only to within its block of equal scores.
        """
        half = self.resolution / 2
        block = np.clip(np.searchsorted(self.scores, scores) - 1, 0, len(self.blocks) - 1)
        width = np.maximum(
            self.value(scores + half) - self.value(scores - half), self.blocks[block]
        )
        deviation: FloatArray = width / SQRT_12
        return deviation


def _knots(values: FloatArray) -> list[int]:
    """Return indices of ascending values `KNOT_DISTANCE` apart, with both ends of wider gaps."""
    knots, last = [0], len(values) - 1
    while (right := int(np.searchsorted(values, values[knots[-1]] + KNOT_DISTANCE))) < last:
        if right - 1 > knots[-1] and values[right] - values[right - 1] > KNOT_DISTANCE:
            knots.append(right - 1)
        knots.append(right)
    return [*knots, last]
