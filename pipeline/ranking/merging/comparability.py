"""Test by the anchors whether the requests of a group are on one scale.

An F-test decides whether one straight line per request explains the anchors' logits better than
their means alone. A chi-square test covers what lines cannot explain (nonlinear maps, few
requests): it decides whether the spread about the means exceeds tolerated noise. If both pass, raw
scores are compared: for parallel test forms, identity is better than a noisy link (ETS RR-09-38).
"""

import math
from typing import Final

import numpy as np
from msgspec import Struct

from pipeline.ranking.merging.affine_link import fit_affine
from pipeline.ranking.merging.first_round import FirstRound
from pipeline.ranking.merging.logit_scale import NOISE, LogitScale

ALPHA: Final = 0.01
"""Level of both tests: the share of comparable groups that are linked without need."""
TOLERATED_NOISE: Final = 0.22
"""Standard deviation between repeats that needs no link, in logits, rounding not included."""
MIN_FREEDOM: Final = 3
"""The F-test needs at least so many degrees of freedom."""
MIN_REPEATS: Final = 2
"""So many repeated anchor scores, beyond the first of each anchor, rule out coincidence."""
NEGLIGIBLE: Final = 1e-4
"""Weighted squared distance of scores .001 logit apart, which count as exact repeats."""
STEPS: Final = 40


class Comparability(Struct, frozen=True):
    """The result of the tests.

    Attributes:
        p_lines: p-value of the F-test. With too few anchor scores for it: 1 if they repeat exactly,
            else 0.
        p_noise: p-value of the chi-square test.
        rms_before: Root mean square of the anchors' logits about their means.
        rms_after: Root mean square about the lines of their requests.
        fingerprint: Whether the answers look normalised over their request.
        every_request_measured: Whether each request has an anchor that is not saturated.
    """

    p_lines: float
    p_noise: float
    rms_before: float
    rms_after: float
    fingerprint: bool
    every_request_measured: bool

    @property
    def comparable(self) -> bool:
        """Whether raw scores of different requests may be sorted together."""
        return (
            self.every_request_measured
            and min(self.p_lines, self.p_noise) >= ALPHA
            and not self.fingerprint
        )


def compare(first: FirstRound, scale: LogitScale) -> Comparability:
    """Test whether the requests of a group are on one scale."""
    # Imported when needed: groups of one request do not need scipy.
    from scipy.special import chdtrc, fdtrc

    weight = scale.weight(first.anchor_scores)
    usable = (weight > 0).any(axis=1)
    weight = weight[usable]
    cells = weight > 0
    num_anchors, num_requests = cells.shape
    if not num_anchors:
        return Comparability(0.0, 0.0, np.nan, np.nan, first.fingerprint, False)
    logit = np.where(cells, scale.logit(first.anchor_scores[usable]), 0.0)

    about_mean = np.where(
        cells, logit - ((weight * logit).sum(axis=1) / weight.sum(axis=1))[:, None], 0.0
    )
    about_line = np.where(
        cells, fit_affine(logit, weight, steps=STEPS, robust=False).residual(logit), 0.0
    )
    repeats = int(cells.sum()) - num_anchors
    parameters = 2 * (num_requests - 1)
    freedom = max(repeats - parameters, 1)
    spread = float((weight * about_mean**2).sum())
    unexplained = float((weight * about_line**2).sum())
    explained = max(spread - unexplained, 0.0)
    f_ratio = (explained / parameters) / max(unexplained / freedom, NEGLIGIBLE)
    repeating = repeats >= MIN_REPEATS and spread < NEGLIGIBLE * repeats
    if freedom >= MIN_FREEDOM:
        p_lines = float(fdtrc(parameters, freedom, f_ratio))
    else:
        # Too few scores for the test, as with small requests. But if every anchor repeats its
        # score exactly, no line fits better than the means.
        p_lines = float(repeating)
    rounding = 1 / np.where(cells, weight, np.inf) - NOISE**2
    tolerated = float((about_mean**2 / (TOLERATED_NOISE**2 + rounding)).sum())
    return Comparability(
        p_lines=p_lines,
        p_noise=float(chdtrc(max(repeats, 1), tolerated)),
        rms_before=math.sqrt(float((about_mean**2).sum()) / max(repeats, 1)),
        rms_after=math.sqrt(float((about_line**2).sum()) / freedom),
        # Normalisation moves the anchors; if they repeat exactly, the extremes agree by chance.
        fingerprint=first.fingerprint and not repeating,
        every_request_measured=bool(cells.any(axis=0).all()),
    )
