"""Link the requests of a group to one reference scale, by the model that predicts better.

Two models are compared by leave-one-out: the affine link (a straight line on the logit) and the
rank link (counts between anchors). Each predicts the share of the group above an anchor that it was
not fitted to. Neither model changes the order of documents within a request.
"""

from typing import Final, Literal

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.ranking.merging.affine_link import fit_affine
from pipeline.ranking.merging.comparability import Comparability
from pipeline.ranking.merging.first_round import FirstRound
from pipeline.ranking.merging.logit_scale import LogitScale
from pipeline.ranking.merging.rank_link import RankLink, fit_rank_link

AFFINE_ALLOWANCE: Final = 1.2
"""The affine model, which is finer, is preferred up to this ratio of errors."""
MAX_ERROR: Final = 0.05
"""Largest leave-one-out error of a stable link, as a share of the group."""
MAX_RMS: Final = 0.5
"""Largest root mean square residual of a stable affine link, in logits."""
STEPS: Final = 30
LEAVE_ONE_OUT_STEPS: Final = 15


class Link(Struct, frozen=True, eq=False):
    """The documents of all requests on one scale.

    Attributes:
        model: `affine`, a line on the logit; or `rank`, counts between anchors.
        order: The documents that have a score, best first.
        score: The linked score of each document, non-increasing along the order, float64[n]; NaN
            without a score.
        e_affine: Leave-one-out error of the affine model, a share of the group; infinite where it
            cannot be estimated.
        e_rank: The same of the rank model.
        stable: Whether the chosen model's errors are within `MAX_ERROR` and `MAX_RMS`.
    """

    model: Literal["affine", "rank"]
    order: IntArray
    score: FloatArray
    e_affine: float
    e_rank: float
    stable: bool


def link(first: FirstRound, scale: LogitScale, comparability: Comparability) -> Link:
    """Put the documents of all requests on one scale, each by its score in its home request."""
    logit = scale.logit(first.score)
    anchor_logit = np.nan_to_num(scale.logit(first.anchor_scores))
    anchor_weight = scale.weight(first.anchor_scores)
    ranks, share = fit_rank_link(first)
    e_rank = ranks.leave_one_out_error()
    e_affine = _affine_error(logit[first.scored], first, anchor_logit, anchor_weight, ranks)

    model: Literal["affine", "rank"]
    if e_affine <= AFFINE_ALLOWANCE * e_rank and e_affine < np.inf:
        model, stable = "affine", e_affine <= MAX_ERROR and comparability.rms_after <= MAX_RMS
        usable = (anchor_weight > 0).any(axis=1)
        lines = fit_affine(anchor_logit[usable], anchor_weight[usable], steps=STEPS, robust=True)
        value = lines.to_reference(logit, first.home)
    else:
        model, stable = "rank", e_rank <= MAX_ERROR
        value = _reference_quantile(first, logit, share)
    descending = -value if model == "affine" else share
    scored = first.scored
    order = scored[np.lexsort((first.rank[scored], descending[scored]))]
    score = np.full(len(value), np.nan)
    score[scored] = scale.score(value[scored])
    return Link(model, order, score, e_affine, e_rank, stable)


def _affine_error(
    logit: FloatArray,
    first: FirstRound,
    anchor_logit: FloatArray,
    anchor_weight: FloatArray,
    ranks: RankLink,
) -> float:
    """Root mean square error of the predicted group share of anchors left out of the fit."""
    if not (anchor_weight > 0).any(axis=0).all():
        return np.inf  # a request without usable anchors cannot be linked
    usable = np.flatnonzero((anchor_weight > 0).any(axis=1))
    home, every_request = first.home[first.scored], np.arange(first.num_requests)
    errors: list[FloatArray] = []
    for anchor, group_share in zip(ranks.anchors, ranks.group_share, strict=True):
        others = usable[usable != anchor]
        if anchor not in usable or not len(others):
            continue
        lines = fit_affine(
            anchor_logit[others], anchor_weight[others], steps=LEAVE_ONE_OUT_STEPS, robust=True
        )
        values: FloatArray = lines.to_reference(logit, home)
        predicted = lines.to_reference(anchor_logit[anchor], every_request)
        not_below = len(values) - np.searchsorted(np.sort(values), predicted)
        errors.append(not_below / len(values) - group_share)
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else np.inf


def _reference_quantile(first: FirstRound, logit: FloatArray, share: FloatArray) -> FloatArray:
    """Return the logit that has the given share of documents above it in the average request.

    Quantile normalisation (Bolstad et al., doi 10.1093/bioinformatics/19.2.185): the requests are
    equivalent samples, so the mean of their quantiles is the quantile of the reference scale.
    """
    homes = [home for home in first.homes_in_order() if len(home)]
    quantile = np.zeros(len(share))
    for home in homes:
        middle = (np.arange(len(home)) + 0.5) / len(home)
        quantile += np.interp(share, middle, logit[home])
    return quantile / len(homes)
