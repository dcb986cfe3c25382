"""Test by permutation whether anchors' values differ systematically between requests.

If the requests are on one scale, the repeated values of an anchor are exchangeable: any assignment
of them to the requests was as likely. So the explained variation is compared with that of permuted
values. The level is exact for every distribution of the noise, also if some anchors are noisier
than others, whereas an F-test relies on equal noise (Pitman 1937, doi 10.2307/2984124).
"""

from functools import cache
from itertools import product
from typing import Final

import numpy as np

from pipeline.core.arrays import BoolArray, FloatArray

PERMUTATIONS: Final = 499
"""With them the smallest p-value is .002."""
MAX_EXACT: Final = 10
"""Most anchors of two requests for which all permutations are enumerated."""
PRIOR_FREEDOM: Final = 4.0
"""Weight of the common variance in that of an anchor, in degrees of freedom."""
LEAST_VARIANCE: Final = 0.02**2
"""Variance of an anchor that repeats exactly, in squared spreads."""
ROUNDING_ERROR: Final = 1e-9
"""Relative difference of equal sums of squares."""


def explained_variation(
    deviations: FloatArray, values: FloatArray, weights: FloatArray
) -> FloatArray:
    """Return the variation that one straight line per request explains, weighted sums of squares.

    Args:
        deviations: The anchors' values less their means, float64[..., k, C].
        values: The anchors' means, float64[k].
        weights: The weight of each value, float64[k, C]; 0 for a missing one.
    """
    total = np.maximum(weights.sum(axis=0), 1e-300)
    slopes = values[:, None] - (weights * values[:, None]).sum(axis=0) / total
    squares = (weights * slopes**2).sum(axis=0)
    offset = (weights * deviations).sum(axis=-2)
    slope = (weights * slopes * deviations).sum(axis=-2)
    by_slope = np.where(squares > 1e-12, slope**2 / np.maximum(squares, 1e-12), 0.0)
    explained: FloatArray = (offset**2 / total + by_slope).sum(axis=-1)
    return explained


def permutation_p(values: FloatArray, cells: BoolArray) -> float:
    """Return the p-value of the hypothesis that all requests are on one scale.

    All permutations are enumerated for two requests, else `PERMUTATIONS` are drawn, the same ones
    each time. A small p-value may be out of reach, see `least_p`.

    Args:
        values: The anchors' values, float64[k, C].
        cells: Which of them are usable, bool[k, C].
    """
    count = cells.sum(axis=1)
    means = np.where(cells, values, 0.0).sum(axis=1) / count
    deviations = np.where(cells, values - means[:, None], 0.0)
    # The variance of an anchor is that of its own values and of all, which permuting leaves as is.
    squares, freedom = (deviations**2).sum(axis=1), np.maximum(count - 1, 0)
    common = squares.sum() / max(freedom.sum(), 1)
    variance = (PRIOR_FREEDOM * common + squares) / (PRIOR_FREEDOM + freedom) + LEAST_VARIANCE
    weights = cells / variance[:, None]
    permuted = _all_swaps(deviations) if _can_enumerate(cells) else _shuffled(deviations, cells)
    explained = explained_variation(permuted, means, weights)
    return float(np.mean(explained >= explained[0] * (1 - ROUNDING_ERROR)))


def least_p(values: FloatArray, cells: BoolArray) -> float:
    """Return the smallest p-value that these numbers of values can have.

    Args:
        values: The anchors' values, float64[k, C].
        cells: Which of them are usable, bool[k, C].
    """
    if not _can_enumerate(cells):
        return 1 / (PERMUTATIONS + 1)
    differ = int((np.abs(values[:, 0] - values[:, 1])[cells.all(axis=1)] > ROUNDING_ERROR).sum())
    return float(2.0 ** (1 - max(differ, 1)))


def _can_enumerate(cells: BoolArray) -> bool:
    return cells.shape[1] == 2 and len(cells) <= MAX_EXACT


def _all_swaps(deviations: FloatArray) -> FloatArray:
    """Return the deviations with those of every subset of anchors swapped, the given ones first.

    To swap an anchor's two values is to change the sign of its deviations. Swapping all anchors
    explains as much, so the first one stays.
    """
    swapped: FloatArray = _signs(len(deviations))[:, :, None] * deviations
    return swapped


@cache
def _signs(num_anchors: int) -> FloatArray:
    """Return all signs of so many anchors, of which the first one is positive, a row each."""
    signs = np.array(list(product((1.0, -1.0), repeat=num_anchors - 1)))
    return np.column_stack((np.ones(len(signs)), signs))


def _shuffled(deviations: FloatArray, cells: BoolArray) -> FloatArray:
    """Return the deviations, then permutations of each anchor's usable ones."""
    rng = np.random.default_rng(0)
    shuffled = np.zeros((PERMUTATIONS + 1, *deviations.shape))
    shuffled[0] = deviations
    for anchor, usable in enumerate(cells):
        keys = rng.random((PERMUTATIONS, int(usable.sum())))
        shuffled[1:, anchor, usable] = deviations[anchor, usable][keys.argsort(axis=1)]
    return shuffled
