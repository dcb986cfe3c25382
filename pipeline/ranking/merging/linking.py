"""Link the requests of a group to one reference scale, by the model that predicts better.

Two models are compared by leave-one-out: the affine link (a straight line on the group's scale, see
`scale`) and the rank link (counts between anchors). Each predicts the share of the group above an
anchor that it was not fitted to. Neither model changes the order of documents within a request.
"""

from typing import Final, Literal

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import BoolArray, FloatArray, IntArray
from pipeline.ranking.merging.affine_link import fit_affine
from pipeline.ranking.merging.first_round import FirstRound
from pipeline.ranking.merging.rank_link import RankLink, fit_rank_link
from pipeline.ranking.merging.scale import Scale, natural_range, precision

AFFINE_ALLOWANCE: Final = 1.2
"""The affine model, which is finer, is preferred up to this ratio of its error to the other's."""
MAX_ERROR: Final = 0.05
"""Largest leave-one-out error of a stable link, as a share of the group."""
MAX_RMS: Final = 0.25
"""Largest root mean square residual of a stable affine link, in spreads, beyond rounding errors:
half a logit where most documents are within two of the median."""
STEPS: Final = 30
LEAVE_ONE_OUT_STEPS: Final = 15


class Link(Struct, frozen=True, eq=False):
    """The documents of all requests on one scale.

    Attributes:
        model: `affine`, a line per request; or `rank`, counts between anchors.
        order: The documents that have a score, best first.
        score: The linked score of each document, non-increasing along the order, within the natural
            range of the scores, float64[n]; NaN without a score.
        least: The low end of that range.
        e_affine: Leave-one-out error of the affine model, a share of the group; infinite where it
            cannot be estimated.
        e_rank: The same of the rank model.
        stable: Whether the chosen model's errors are within `MAX_ERROR` and `MAX_RMS`.
    """

    model: Literal["affine", "rank"]
    order: IntArray
    score: FloatArray
    least: float
    e_affine: float
    e_rank: float
    stable: bool


def link(first: FirstRound, scale: Scale) -> Link:
    """Put the documents of all requests on one scale, each by its score in its home request."""
    own = scale.value(first.score)
    anchor_value = np.nan_to_num(scale.value(first.anchor_scores))
    anchor_weight = precision(scale, first.anchor_scores)
    ranks, share = fit_rank_link(first)
    e_rank = ranks.leave_one_out_error()
    e_affine = _affine_error(own[first.scored], first, anchor_value, anchor_weight, ranks)

    model: Literal["affine", "rank"]
    if e_affine <= AFFINE_ALLOWANCE * e_rank and e_affine < np.inf:
        usable = (anchor_weight > 0).any(axis=1)
        anchor_value, anchor_weight = anchor_value[usable], anchor_weight[usable]
        lines = fit_affine(anchor_value, anchor_weight, steps=STEPS, robust=True)
        value = lines.to_reference(own, first.home)
        rounding = scale.rounding(first.anchor_scores[usable])
        residual = _residual_rms(lines.residual(anchor_value), rounding, anchor_weight > 0)
        model, stable = "affine", e_affine <= MAX_ERROR and residual <= MAX_RMS
    else:
        model, stable = "rank", e_rank <= MAX_ERROR
        value = _reference_quantile(first, own, share)
    descending = -value if model == "affine" else share
    scored = first.scored
    order = scored[np.lexsort((first.rank[scored], descending[scored]))]
    score = np.full(len(value), np.nan)
    low, high = natural_range(first)
    score[scored] = np.clip(scale.score(value[scored]), low, high)
    return Link(model, order, score, low, e_affine, e_rank, stable)


def _affine_error(
    value: FloatArray,
    first: FirstRound,
    anchor_value: FloatArray,
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
            anchor_value[others], anchor_weight[others], steps=LEAVE_ONE_OUT_STEPS, robust=True
        )
        reference: FloatArray = lines.to_reference(value, home)
        predicted = lines.to_reference(anchor_value[anchor], every_request)
        not_below = len(reference) - np.searchsorted(np.sort(reference), predicted)
        errors.append(not_below / len(reference) - group_share)
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else np.inf


def _residual_rms(residual: FloatArray, rounding: FloatArray, cells: BoolArray) -> float:
    """Return the root mean square of the residuals, beyond rounding errors of that size."""
    values, lines = int(cells.sum()), 2 * (cells.shape[1] - 1)
    freedom = values - len(cells) - lines
    expected = float((rounding[cells] ** 2).sum()) * freedom / values
    squares = float((residual[cells] ** 2).sum())
    return float(np.sqrt(max(squares - expected, 0.0) / max(freedom, 1)))


def _reference_quantile(first: FirstRound, value: FloatArray, share: FloatArray) -> FloatArray:
    """Return the value that has the given share of documents above it in the average request.

    Quantile normalisation (Bolstad et al., doi 10.1093/bioinformatics/19.2.185): the requests are
    equivalent samples, so the mean of their quantiles is the quantile of the reference scale.
    """
    homes = [home for home in first.homes_in_order() if len(home)]
    quantile = np.zeros(len(share))
    for home in homes:
        middle = (np.arange(len(home)) + 0.5) / len(home)
        quantile += np.interp(share, middle, value[home])
    return quantile / len(homes)
