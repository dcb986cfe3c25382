"""The values of the anchors in every request, as far as they are usable."""

from typing import Final

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import BoolArray, FloatArray
from pipeline.ranking.merging.first_round import FirstRound
from pipeline.ranking.merging.scale import Scale, precision

NEGLIGIBLE: Final = 1e-4
"""Weighted squared distance of values .0005 apart, which count as exact repeats."""


class AnchorValues(Struct, frozen=True, eq=False):
    """The usable values of k anchors in C requests, float64[k, C]; 0 for the others.

    Attributes:
        value: In spreads.
        deviation: From the anchor's weighted mean.
        weight: The precision.
        rounding: Standard deviation of the rounding error.
        cells: Which values are usable.
    """

    value: FloatArray
    deviation: FloatArray
    weight: FloatArray
    rounding: FloatArray
    cells: BoolArray

    @classmethod
    def of(cls, first: FirstRound, scale: Scale) -> "AnchorValues":
        """Return the anchors that are not saturated in at least two requests."""
        weight = precision(scale, first.anchor_scores)
        usable = (weight > 0).sum(axis=1) > 1
        weight = weight[usable]
        cells = weight > 0
        scores = np.where(
            cells, first.anchor_scores[usable], first.score[first.anchors[usable], None]
        )
        value = np.where(cells, scale.value(scores), 0.0)
        mean = (weight * value).sum(axis=1) / weight.sum(axis=1)
        deviation = np.where(cells, value - mean[:, None], 0.0)
        rounding = np.where(cells, scale.rounding(scores), 0.0)
        return cls(value, deviation, weight, rounding, cells)

    @property
    def plain_mean(self) -> FloatArray:
        """The mean of each anchor's values, float64[k]."""
        mean: FloatArray = self.value.sum(axis=1) / self.cells.sum(axis=1)
        return mean

    @property
    def repeats(self) -> int:
        """How many values there are beyond the first one of each anchor."""
        return int(self.cells.sum()) - len(self.cells)

    @property
    def freedom(self) -> int:
        """Degrees of freedom about one line per request."""
        return self.repeats - 2 * (int(self.cells.shape[1]) - 1)

    @property
    def repeat_exactly(self) -> bool:
        """Whether all values of each anchor are equal."""
        spread = float((self.weight * self.deviation**2).sum())
        return self.repeats > 0 and spread < NEGLIGIBLE * self.repeats
