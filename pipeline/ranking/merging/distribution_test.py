"""Test whether the home documents of all requests have the same distribution of scores.

Documents are dealt to the requests in serpentine order, so the homes are equivalent samples of the
group, and more alike than random ones. If the requests are on one scale, their scores are samples
of one distribution. The test finds differences where there is no anchor, and where anchors are too
coarse or too saturated to show any. It is the Anderson-Darling test for several samples, which is
as sensitive at the ends of a distribution as in its middle, with ties at their mid-ranks (Scholz
and Stephens 1987, doi 10.1080/01621459.1987.10478517). It depends on the order of the scores alone,
so on no range and no scale.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from pipeline.core.arrays import FloatArray

LEAST_SAMPLE: Final = 5
"""Fewest documents of a sample for the critical values to hold; smaller samples are left out."""
PARTS: Final = 100
"""Number of parts of the group into which scores are divided for the variance."""
CRITICAL: Final = (2.326, 1.822, -0.396)
"""b of the critical value b0 + b1 / sqrt(m) + b2 / m at the level .01, for m + 1 samples."""


def are_alike(samples: Sequence[FloatArray]) -> bool:
    """Return whether samples may be of one distribution, at the level .01.

    Args:
        samples: The scores of each sample, in any order.
    """
    samples = [sample for sample in samples if len(sample) >= LEAST_SAMPLE]
    more = len(samples) - 1
    if more < 1 or np.ptp(np.concatenate(samples)) == 0:
        return True
    b_0, b_1, b_2 = CRITICAL
    return standardised(samples) <= b_0 + b_1 / math.sqrt(more) + b_2 / more


def standardised(samples: Sequence[FloatArray]) -> float:
    """Return the statistic in standard deviations from its mean, both if the samples are alike."""
    size = np.array([len(sample) for sample in samples], dtype=np.float64)
    total, more = size.sum(), len(size) - 1
    distinct, count = np.unique(np.concatenate(samples), return_counts=True)
    below = count.cumsum() - count / 2
    weight = count / (below * (total - below) - total * count / 4)
    statistic = 0.0
    for sample in samples:
        ascending = np.sort(sample)
        left = np.searchsorted(ascending, distinct, side="left")
        right = np.searchsorted(ascending, distinct, side="right")
        squares = (total * (left + right) / 2 - len(sample) * below) ** 2
        statistic += float((weight * squares).sum()) / len(sample)
    statistic *= (total - 1) / total**2
    return float((statistic - more) / np.sqrt(more * _variance(count / total)))


def _variance(shares: FloatArray) -> float:
    """Return the variance for two large samples, by the shares of the distinct scores.

    The statistic is then a sum of squares of normal variables, of which `covariance` is the matrix:
    its mean is the trace, and its variance twice the sum of the squares.
    """
    part = ((shares.cumsum() - shares / 2) * PARTS).astype(np.int64)
    merged = np.bincount(part, shares).astype(np.float64)
    count = merged[merged > 0]
    below = count.cumsum() - count / 2
    lower, upper = np.minimum.outer(below, below), np.maximum.outer(below, below)
    within = np.diag(count / 4)
    weight = count / (below * (1 - below) - count / 4)
    covariance = lower * (1 - upper) - within
    return float(2 * (np.outer(weight, weight) * covariance**2).sum())
