"""The resolution of scores: the step that they are rounded to."""

from typing import Final

import numpy as np

from pipeline.core.arrays import BoolArray, FloatArray

MAX_DIGITS: Final = 15
"""Decimals from which a score counts as a full float64, not as a rounded decimal."""
SAMPLE: Final = 32
"""So many scores are examined first; they rule out most numbers of decimals."""
TIED_SHARE: Final = 0.02
"""Scores on a grid that is not decimal are recognised if at least this share of them is tied."""
TIED_SCORES: Final = 3
"""And if at least so many different scores are tied; saturation ties only the ends."""
_POWERS: Final = np.array([10.0**digits for digits in range(MAX_DIGITS)])


def resolution_of(scores: FloatArray) -> float:
    """Return the resolution of scores; 0 if they are not rounded.

    It is a power of ten if all scores are decimals of so many digits. Scores with many ties are
    rounded to some other grid; its step is then at most the smallest distance between two of them.
    """
    may_be = _are_decimals(scores[:SAMPLE, None], _POWERS).all(axis=0)
    for power in _POWERS[may_be]:
        if _are_decimals(scores, power).all():
            return float(1.0 / power)
    distinct, count = np.unique(scores, return_counts=True)
    tied = np.count_nonzero(count > 1) >= TIED_SCORES
    if tied and len(distinct) <= (1 - TIED_SHARE) * len(scores):
        return float(np.diff(distinct).min())
    return 0.0


def _are_decimals(scores: FloatArray, powers: FloatArray) -> BoolArray:
    """Return which scores are multiples of 1 / power."""
    # Division is correctly rounded, so every decimal of so many digits is reproduced.
    with np.errstate(over="ignore"):
        decimals: BoolArray = np.rint(scores * powers) / powers == scores
    return decimals
