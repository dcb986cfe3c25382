"""The scale on which the scores of a group are compared and linked.

All thresholds of merging are in *spreads* of this scale: a value of 0 is the median of the group's
scores, and 1 is their robust standard deviation. So they hold for probabilities, percentages,
logits, or any other range.

Noise and distortions of a model are even on the scale of its logits, not on that of its
probabilities, of which most are near 0. So the scale is the first of these on which the scores are
spread evenly about their median:

1. log-odds within the narrowest of the ranges 0..1, -1..1 and 0..100 that holds all scores;
2. the scores as they are;
3. log-odds within the range that the scores themselves span.

If none is even, it is the *share scale*: the log-odds of the share of the group below a score. It
depends on the order of the scores alone, so it is even for any scores; but two requests that differ
by a straight line on the logit do not differ by one there.

Invariant: the transforms are non-decreasing, and finite for every score of the group.
"""

from typing import Final, Protocol

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray
from pipeline.ranking.merging.first_round import FirstRound
from pipeline.ranking.merging.resolution import resolution_of
from pipeline.ranking.merging.share_scale import SQRT_12, ShareScale

NOISE: Final = 0.05
"""Standard deviation that is assumed even where scores repeat exactly, in spreads."""
MAX_ROUNDING: Final = 0.5
"""A score whose rounding error has a larger standard deviation is *saturated*: not evidence."""
RANGES: Final = ((0.0, 1.0), (-1.0, 1.0), (0.0, 100.0))
"""Probabilities, cosines, percentages."""
FINEST: Final = 1e-12
"""Finest resolution near the ends of a range, as a share of it."""
QUANTILES: Final = (0.02, 0.25, 0.5, 0.75, 0.98)
MAX_TAIL: Final = 8.0
"""On an even scale a tail of 48 % of the scores is at most so many times as long as its nearer 25 %
(2 for a uniform distribution, 3 for a normal one)."""
MAX_SKEW: Final = 4.0
"""On an even scale the quartiles' distances from the median have at most this ratio."""
NORMAL_QUARTILES: Final = 1.349
"""Distance between the quartiles of a normal distribution, in standard deviations."""


class Scale(Protocol):
    """Converts scores into values in spreads, and back."""

    @property
    def resolution(self) -> float:
        """The step that scores are rounded to; 0 if they are not."""

    @property
    def spread(self) -> float:
        """One spread in log-odds, or of a linear scale in scores."""

    def value(self, scores: FloatArray) -> FloatArray:
        """Return the values of scores."""

    def score(self, values: FloatArray) -> FloatArray:
        """Return the scores of values, the inverse of `value`."""

    def rounding(self, scores: FloatArray) -> FloatArray:
        """Return the standard deviations of the values' rounding errors; infinite if saturated."""


class LinearScale(Struct, frozen=True):
    """The scores as they are, from their median and in units of their spread."""

    resolution: float
    median: float
    spread: float

    def value(self, scores: FloatArray) -> FloatArray:
        """Return the values of scores."""
        return (scores - self.median) / self.spread

    def score(self, values: FloatArray) -> FloatArray:
        """Return the scores of values."""
        return self.median + values * self.spread

    def rounding(self, scores: FloatArray) -> FloatArray:
        """Return the standard deviations of the values' rounding errors."""
        return np.full(scores.shape, self.resolution / SQRT_12 / self.spread)


class LogOddsScale(Struct, frozen=True):
    """The log-odds of the scores within a range, from their median and in units of their spread.

    Attributes:
        resolution: The step that scores are rounded to; 0 if they are not.
        low: The low end of the range.
        high: The high end of the range.
        median: The median of the log-odds.
        spread: The spread of the log-odds.
    """

    resolution: float
    low: float
    high: float
    median: float = 0.0
    spread: float = 1.0

    @property
    def step(self) -> float:
        """The resolution as a share of the range, at least `FINEST`."""
        return max(self.resolution / (self.high - self.low), FINEST)

    def value(self, scores: FloatArray) -> FloatArray:
        """Return the values of scores; scores are clipped to half a step from the ends."""
        inside = np.clip(
            (scores - self.low) / (self.high - self.low), self.step / 2, 1 - self.step / 2
        )
        return (np.log(inside / (1 - inside)) - self.median) / self.spread

    def score(self, values: FloatArray) -> FloatArray:
        """Return the scores of values."""
        log_odds = self.median + values * self.spread
        return self.low + (self.high - self.low) * np.exp(-np.logaddexp(0, -log_odds))

    def rounding(self, scores: FloatArray) -> FloatArray:
        """Return the standard deviations of the values' rounding errors.

        A score within 1.5 steps of an end is saturated.
        """
        step, share = self.step, (scores - self.low) / (self.high - self.low)
        inside = np.clip(share, step, 1 - step)
        error = step / SQRT_12 / (inside * (1 - inside)) / self.spread
        return np.where((share < 1.5 * step) | (share > 1 - 1.5 * step), np.inf, error)


def natural_range(first: FirstRound) -> tuple[float, float]:
    """Return the range that a group's scores are assumed to have; infinite where it has no end."""
    lowest, highest = float(first.all_scores.min()), float(first.all_scores.max())
    for low, high in RANGES:
        if low <= lowest and highest <= high:
            return low, high
    return (0.0 if lowest >= 0 else -np.inf), np.inf


def choose_scale(first: FirstRound) -> Scale:
    """Return the scale of a group."""
    scores = first.score[first.scored]
    resolution = resolution_of(scores)
    low, high = natural_range(first)
    if high < np.inf and (found := _even_log_odds(scores, resolution, low, high)) is not None:
        return found
    quantiles = np.quantile(scores, QUANTILES)
    if _is_even(quantiles):
        return LinearScale(resolution, float(quantiles[2]), _spread(quantiles))
    distinct = np.unique(first.all_scores)
    if len(distinct) > 2:
        low = float(distinct[0] - max(resolution, (distinct[1] - distinct[0]) / 2))
        high = float(distinct[-1] + max(resolution, (distinct[-1] - distinct[-2]) / 2))
        if (found := _even_log_odds(scores, resolution, low, high)) is not None:
            return found
    return ShareScale.of(first, resolution)


def precision(scale: Scale, scores: FloatArray) -> FloatArray:
    """Return the precision (1 / variance) of the values of scores; 0 if saturated or missing.

    The variance is that of the noise plus that of rounding.
    """
    rounding = np.where(np.isfinite(scores), scale.rounding(scores), np.inf)
    return np.where(rounding <= MAX_ROUNDING, 1 / (NOISE**2 + rounding**2), 0.0)


def _even_log_odds(
    scores: FloatArray, resolution: float, low: float, high: float
) -> LogOddsScale | None:
    scale = LogOddsScale(resolution, low, high)
    quantiles = np.quantile(scale.value(scores), QUANTILES)
    if not _is_even(quantiles):
        return None
    return LogOddsScale(resolution, low, high, float(quantiles[2]), _spread(quantiles))


def _is_even(quantiles: FloatArray) -> bool:
    lowest, low, middle, high, highest = quantiles.tolist()
    return bool(
        low < high
        and highest - middle <= MAX_TAIL * (high - middle)
        and middle - lowest <= MAX_TAIL * (middle - low)
        and high - middle <= MAX_SKEW * (middle - low)
        and middle - low <= MAX_SKEW * (high - middle)
    )


def _spread(quantiles: FloatArray) -> float:
    return float(quantiles[3] - quantiles[1]) / NORMAL_QUARTILES
