"""Test whether the requests of a group are on one scale.

The requests are comparable if each of these holds. Values are in spreads (see `scale`). The null
hypothesis of the first three is that an anchor's values in all requests are one value plus noise.

1. *No systematic difference*: the variation that one straight line per request explains, of the
   anchors' values about their means, is not larger than by chance. The level is .01, and the
   distribution that of permuting each anchor's values among the requests. Two requests have few
   permutations: an F-test must reject at that level, and the permutations at .05, if they can.
2. *Little noise*: the sum of the anchors' squared deviations, each divided by its tolerated
   variance (`TOLERATED_NOISE` squared, plus that of rounding), is within chi-square, at the level
   .01. It covers what lines do not explain.
3. *One distribution*: the home documents of all requests have scores of one distribution. This is
   an Anderson-Darling test at the level .01, see `distribution_test`. It covers differences that
   anchors do not show.
4. *Enough evidence*: requests on different scales would agree so well by chance with a probability
   of at most `MAX_COINCIDENCE`. Anchors that are saturated or coarsely rounded agree in any case,
   so they are no evidence.
5. Anchors that are not saturated connect all requests, and the answers do not look normalised.

With few degrees of freedom noise cannot be distinguished from a difference, so less of it is
tolerated, and with fewer than `MIN_FREEDOM` none: the anchors must repeat exactly. If all tests
pass, raw scores are compared: for parallel test forms, identity is better than a noisy link (ETS
RR-09-38).

A difference that shows neither in the anchors nor in the distribution of all scores goes unnoticed:
another scale at only the first places, above all anchors, if few documents lie there.
"""

import math
from typing import Final

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import BoolArray
from pipeline.ranking.merging.anchor_values import NEGLIGIBLE, AnchorValues
from pipeline.ranking.merging.distribution_test import are_alike
from pipeline.ranking.merging.first_round import FirstRound
from pipeline.ranking.merging.permutation_test import explained_variation, least_p, permutation_p
from pipeline.ranking.merging.scale import Scale
from pipeline.ranking.merging.share_scale import ShareScale

ALPHA: Final = 0.01
"""Level of the tests: the share of comparable groups that are linked without need, for each."""
CONFIRMED: Final = 0.05
"""Where the F-test decides: largest p-value by permutation, if it can be that small."""
TOLERATED_NOISE: Final = 0.11
"""Standard deviation between repeats that needs no link, rounding not included."""
TOLERATED_SHARE_NOISE: Final = 0.14
"""The same on the share scale, whose noise is less even."""
MIN_FREEDOM: Final = 3
"""With fewer degrees of freedom differences are not tested."""
FULL_FREEDOM: Final = 6
"""With fewer degrees of freedom less noise is tolerated; eight anchors in two requests have 6."""
MAX_COINCIDENCE: Final = 0.005
"""Largest probability that different scales agree as well as the anchors do."""
DISTORTION: Final = 0.5
"""Size of a difference between scales, for that probability."""
EXACT: Final = 1e-3
"""Distance of values that counts as that of exact repeats in the evidence."""


class Comparability(Struct, frozen=True):
    """The result of the tests.

    Attributes:
        p_lines: p-value of the test for systematic differences. With too few degrees of freedom for
            it: 1 if the anchors repeat exactly, else 0.
        p_noise: p-value of the test for noise.
        alike: Whether the home documents of all requests have the same distribution of scores; true
            if they are not equivalent samples.
        coincidence: Bound of the probability that different scales agree as well.
        rms_before: Root mean square of the anchors' values about their means.
        rms_after: Root mean square about the lines of their requests.
        fingerprint: Whether the answers look normalised over their request.
        connected: Whether anchors that are not saturated connect all requests with each other.
    """

    p_lines: float
    p_noise: float
    alike: bool
    coincidence: float
    rms_before: float
    rms_after: float
    fingerprint: bool
    connected: bool

    @property
    def comparable(self) -> bool:
        """Whether raw scores of different requests may be sorted together."""
        return (
            self.connected
            and min(self.p_lines, self.p_noise) >= ALPHA
            and self.alike
            and self.coincidence <= MAX_COINCIDENCE
            and not self.fingerprint
        )


def compare(first: FirstRound, scale: Scale) -> Comparability:
    """Test whether the requests of a group are on one scale."""
    anchors = AnchorValues.of(first, scale)
    if not len(anchors.cells):
        return Comparability(
            p_lines=0.0,
            p_noise=0.0,
            alike=_are_homes_alike(first),
            coincidence=1.0,
            rms_before=np.nan,
            rms_after=np.nan,
            fingerprint=_fingerprint(first, exact=False),
            connected=False,
        )
    exact = anchors.repeat_exactly
    if anchors.freedom < MIN_FREEDOM:
        p_lines = float(exact)
    else:
        p_lines = _p_lines(anchors)
    p_noise = _p_noise(anchors, _tolerated(anchors, scale))
    squares = float((anchors.deviation**2).sum())
    explained = explained_variation(
        anchors.deviation, anchors.plain_mean, anchors.cells.astype(np.float64)
    )
    return Comparability(
        p_lines=p_lines,
        p_noise=p_noise,
        alike=_are_homes_alike(first),
        coincidence=_coincidence(anchors),
        rms_before=math.sqrt(squares / max(anchors.repeats, 1)),
        rms_after=math.sqrt(max(squares - float(explained), 0.0) / max(anchors.freedom, 1)),
        fingerprint=_fingerprint(first, exact=exact),
        connected=_connect_all(anchors.cells),
    )


def _are_homes_alike(first: FirstRound) -> bool:
    return not first.dealt or are_alike([first.score[home] for home in first.homes_in_order()])


def _fingerprint(first: FirstRound, *, exact: bool) -> bool:
    # Normalisation moves the anchors. If they repeat exactly, equal ends or sums are chance.
    return first.rank_shaped or (first.normalised and not exact)


def _connect_all(cells: BoolArray) -> bool:
    """Return whether common anchors connect any two requests, directly or through others."""
    reached: BoolArray = cells[:, 0]
    for _ in range(cells.shape[1]):
        reached = np.any(cells[:, cells[reached].any(axis=0)], axis=1)
    return bool(cells[reached].any(axis=0).all())


def _tolerated(anchors: AnchorValues, scale: Scale) -> float:
    noise = TOLERATED_SHARE_NOISE if isinstance(scale, ShareScale) else TOLERATED_NOISE
    return noise * min(1.0, max(anchors.freedom, 1) / FULL_FREEDOM) ** 2


def _p_lines(anchors: AnchorValues) -> float:
    """Return the p-value by permutation; for two requests that of the F-test, unless refuted."""
    by_permutation = permutation_p(anchors.value, anchors.cells)
    if anchors.cells.shape[1] > 2:
        return by_permutation
    # Imported when needed: groups of one request do not need scipy.
    from scipy.special import fdtrc

    means = anchors.plain_mean  # of two values: an anchor that is usable has both
    deviation = anchors.value - means[:, None]
    lowest = anchors.weight.min(axis=1, keepdims=True)
    weight = np.broadcast_to(lowest, deviation.shape)
    total = float((weight * deviation**2).sum())
    explained = float(explained_variation(deviation, means, weight))
    # Rounding alone makes residuals of this size, even if it happens to make none here.
    rounding = float((weight * anchors.rounding**2).mean())
    residual = max((total - explained) / anchors.freedom, rounding, NEGLIGIBLE)
    p_value = float(fdtrc(2, anchors.freedom, max(explained, 0.0) / 2 / residual))
    if by_permutation > CONFIRMED >= least_p(anchors.value, anchors.cells):
        return max(p_value, by_permutation)
    return p_value


def _p_noise(anchors: AnchorValues, tolerated: float) -> float:
    from scipy.special import chdtrc

    squares = anchors.deviation**2 / (tolerated**2 + anchors.rounding**2)
    return float(chdtrc(max(anchors.repeats, 1), float(squares.sum())))


def _coincidence(anchors: AnchorValues) -> float:
    """Return a bound of the probability that different scales agree as well as the anchors do.

    A repeat on another scale is off by up to `DISTORTION`, or more, in either direction. So it is
    as close as observed, or as rounding can tell, with a probability of at most their ratio.
    """
    repeats = anchors.cells.sum(axis=1) - 1
    distance = np.sqrt(2 * (anchors.deviation**2).sum(axis=1) / np.maximum(repeats, 1))
    step = np.sqrt(12) * anchors.rounding.max(axis=1)
    closeness = np.maximum(np.maximum(distance, step), EXACT) / DISTORTION
    return float(np.prod(np.minimum(closeness, 1.0) ** repeats))
