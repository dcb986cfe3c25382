"""The scores of a linked ranking: strictly decreasing, except for ties.

Readers of an output sort by the score, often as 32-bit floats. So different places have scores that
differ as 32-bit floats, and equal scores mean that the request which ordered the documents gave
them equal scores.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.core.arrays import BoolArray, FloatArray

SIGN: Final = np.int64(0x8000_0000)
SMALLEST: Final = np.int64(0x0080_0000)
"""Bits of the smallest normal 32-bit float; many programs read smaller ones as 0."""
LARGEST: Final = float(np.finfo(np.float32).max) / 2


def decreasing_scores(scores: FloatArray, tied: BoolArray, *, least: float) -> FloatArray:
    """Return scores along a ranking that decrease from place to place, except for ties.

    They are the given scores in descending order, rounded to 32-bit floats, and decreased by as few
    32-bit floats as needed where they are equal.

    Args:
        scores: The linked score of the document at each place, finite, float64[n].
        tied: Whether the document at each place is tied with the one before it; the first is not.
        least: No score is lower; if it is above the lowest given score, it is ignored.
    """
    if not len(scores):
        return scores
    descending = np.clip(np.sort(scores)[::-1], -LARGEST, LARGEST)
    block = np.cumsum(~tied) - 1  # tied places have the score of the first one of them
    number = _to_numbers(descending[~tied])
    place = np.arange(len(number))
    number = np.minimum.accumulate(number + place) - place
    if least <= descending[-1]:
        lowest = _to_numbers(np.array([least]))[0]
        lowest += _from_numbers(np.array([lowest]))[0] < least  # rounded down
        number = np.maximum(number, lowest + place[::-1])
    decreasing: FloatArray = _from_numbers(number)[block]
    return decreasing


def _to_numbers(scores: FloatArray) -> NDArray[np.int64]:
    """Return the numbers of 32-bit floats, counted in ascending order from 0 for zero."""
    bits = scores.astype(np.float32).view(np.uint32).astype(np.int64)
    size = np.maximum((bits & (SIGN - 1)) - (SMALLEST - 1), 0)
    numbers: NDArray[np.int64] = np.where(bits & SIGN, -size, size)
    return numbers


def _from_numbers(numbers: NDArray[np.int64]) -> FloatArray:
    bits = np.where(numbers, np.abs(numbers) + (SMALLEST - 1), 0) | np.where(numbers < 0, SIGN, 0)
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)
