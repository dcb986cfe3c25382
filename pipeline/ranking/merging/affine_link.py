"""The affine link: in every request, value = offset + slope x (reference - center).

Values and priors are in spreads of the group (see `scale`). The lines are fitted to the anchors by
alternating ridge least squares: the lines of the requests given the anchors' common values, then
the common values given the lines. The mean of the offsets is the center and the geometric mean of
the slopes is 1, so the reference scale is that of the average request.
"""

from typing import Final

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray

OFFSET_SD: Final = 2.5
"""Prior standard deviation of the offsets (the ridge)."""
SLOPE_SD: Final = 0.4
"""Prior standard deviation of the slopes."""
MIN_SLOPE: Final = 0.1
MAX_SLOPE: Final = 10.0
HUBER: Final = 2.5
"""Residuals beyond so many robust standard deviations are weighted down."""
MIN_SIGMA: Final = 0.01
"""Smallest robust standard deviation of the residuals."""
PLAIN_STEPS: Final = 5
"""Unweighted steps before residuals are used to find outliers."""


class AffineLink(Struct, frozen=True, eq=False):
    """The lines of C requests and the common values of k anchors.

    Attributes:
        center: The reference value at which the lines have their offsets.
        offset: The value of each request at the center, float64[C].
        slope: The slope of each request, float64[C], positive.
        common: The value of each anchor on the reference scale, float64[k].
    """

    center: float
    offset: FloatArray
    slope: FloatArray
    common: FloatArray

    def to_reference(self, value: FloatArray, request: int | IntArray) -> FloatArray:
        """Map values to the reference scale.

        Args:
            value: The values.
            request: Their request: one for all, or one for each.
        """
        reference: FloatArray = self.center + (value - self.offset[request]) / self.slope[request]
        return reference

    def residual(self, value: FloatArray) -> FloatArray:
        """Return the residuals of the anchors' values, float64[k, C]."""
        return value - self.offset - self.slope * (self.common - self.center)[:, None]


def fit_affine(value: FloatArray, weight: FloatArray, *, steps: int, robust: bool) -> AffineLink:
    """Fit the lines of all requests.

    Args:
        value: The anchors' values, float64[k, C]; any finite number where the weight is 0.
        weight: Their precisions, float64[k, C]; each anchor has a positive one in some request.
        steps: Number of alternations.
        robust: Whether outliers are weighted down (Huber).
    """
    common = (weight * value).sum(axis=1) / weight.sum(axis=1)
    center = float((weight.sum(axis=1) * common).sum() / weight.sum())
    trusted = weight
    for step in range(steps):
        x = (common - center)[:, None]
        excess = value - center - x
        # For each request: 2 x 2 normal equations of excess = a + b x, with a ridge on a and b.
        s_1 = trusted.sum(axis=0) + OFFSET_SD**-2
        s_x = (trusted * x).sum(axis=0)
        s_xx = (trusted * x * x).sum(axis=0) + SLOPE_SD**-2
        s_y = (trusted * excess).sum(axis=0)
        s_xy = (trusted * x * excess).sum(axis=0)
        determinant = s_1 * s_xx - s_x * s_x
        offset = center + (s_xx * s_y - s_x * s_xy) / determinant
        slope = np.clip(1 + (s_1 * s_xy - s_x * s_y) / determinant, MIN_SLOPE, MAX_SLOPE)
        slope /= np.exp(np.log(slope).mean())
        offset -= offset.mean() - center
        common = center + (trusted * slope * (value - offset)).sum(axis=1) / (
            trusted * slope * slope
        ).sum(axis=1)
        link = AffineLink(center, offset, slope, common)
        if robust and step >= PLAIN_STEPS - 1:
            size = np.abs(link.residual(value))
            sigma = max(1.4826 * float(np.median(size[weight > 0])), MIN_SIGMA)
            trusted = weight * np.minimum(1, HUBER * sigma / np.maximum(size, sigma))
    return link
