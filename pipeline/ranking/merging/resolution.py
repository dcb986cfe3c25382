"""The resolution of scores: the step that they are rounded to."""

from typing import Final

import numpy as np

from pipeline.core.arrays import FloatArray

MAX_DIGITS: Final = 15
"""Decimals from which a score counts as a full float64, not as a rounded decimal."""
SAMPLE: Final = 32
"""So many scores are examined first; they rule out most numbers of decimals."""
TIED_SHARE: Final = 0.02
"""Scores on a grid that is not decimal are recognised if at least this share of them is tied."""
TIED_SCORES: Final = 3
"""And if at least so many different scores are; saturation and normalisation tie the ends alone."""


def resolution_of(scores: FloatArray) -> float:
    """Return the resolution of scores; 0 if they are not rounded.

    It is a power of ten if all scores are decimals of so many digits. Scores with many ties are
    rounded to some other grid; its step is then at most the smallest distance between two of them.
    """
    sample = scores[:SAMPLE]
    for digits in range(MAX_DIGITS):
        if _are_decimals(sample, digits) and _are_decimals(scores, digits):
            return float(10.0**-digits)
    distinct, count = np.unique(scores, return_counts=True)
    tied = np.count_nonzero(count > 1) >= TIED_SCORES
    if tied and len(distinct) <= (1 - TIED_SHARE) * len(scores):
        return float(np.diff(distinct).min())
    return 0.0


def _are_decimals(scores: FloatArray, digits: int) -> bool:
    # Division is correctly rounded, so every decimal of so many digits is reproduced.
    with np.errstate(over="ignore"):
        return bool((np.rint(scores * 10.0**digits) / 10.0**digits == scores).all())
