"""The link of a group's requests to one reference scale, by the model that predicts better.

Both models are tried on anchors left out one at a time: how well do they foretell the share of
the group that stands above an anchor they did not see? Within a request neither model ever
changes the order of two documents.
"""

from typing import Final, Literal

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.ranking.merging.affine_link import fit_affine
from pipeline.ranking.merging.comparability import Comparability
from pipeline.ranking.merging.first_round import FirstRound
from pipeline.ranking.merging.logit_scale import LogitScale
from pipeline.ranking.merging.rank_link import Splitters, split

AFFINE_ALLOWANCE: Final = 1.2
"""The finer affine model is preferred up to this ratio of errors."""
MAX_ERROR: Final = 0.05
"""Largest error of a sound link, as a share of the group."""
MAX_RMS: Final = 0.5
"""Largest residual of a sound affine link, in logits."""
STEPS: Final = 30
LEAVE_ONE_OUT_STEPS: Final = 15


class Link(Struct, frozen=True, eq=False):
    """The documents of all requests on one scale.

    Attributes:
        model: by a line on the logit, or by counts between anchors.
        order: the documents with a score, best first.
        score: the linked score of each document, non-increasing along the order, float64[n]; NaN
            without.
        e_affine: leave-one-out error of the affine model, a share of the group; infinite where
            it cannot be known.
        e_rank: the same of the rank model.
        stable: whether the chosen model proved itself.
    """

    model: Literal["affine", "rank"]
    order: IntArray
    score: FloatArray
    e_affine: float
    e_rank: float
    stable: bool


def link(first: FirstRound, scale: LogitScale, comparability: Comparability) -> Link:
    """Link the documents of all requests, each by its home request."""
    logit = scale.logit(first.score)
    anchor_logit = np.nan_to_num(scale.logit(first.anchor_scores))
    anchor_weight = scale.weight(first.anchor_scores)
    splitters, share = split(first)
    e_rank = splitters.leave_one_out_error()
    e_affine = _affine_error(logit[first.scored], first, anchor_logit, anchor_weight, splitters)

    model: Literal["affine", "rank"]
    if e_affine <= AFFINE_ALLOWANCE * e_rank and e_affine < np.inf:
        model, stable = "affine", e_affine <= MAX_ERROR and comparability.rms_after <= MAX_RMS
        usable = (anchor_weight > 0).any(axis=1)
        lines = fit_affine(anchor_logit[usable], anchor_weight[usable], steps=STEPS, robust=True)
        value = lines.to_reference(logit, first.home)
    else:
        model, stable = "rank", e_rank <= MAX_ERROR
        value = _reference_quantile(first, logit, share)
    standing = -value if model == "affine" else share
    scored = first.scored
    order = scored[np.lexsort((first.rank[scored], standing[scored]))]
    score = np.full(len(value), np.nan)
    score[scored] = scale.score(value[scored])
    return Link(model, order, score, e_affine, e_rank, stable)


def _affine_error(
    logit: FloatArray,
    first: FirstRound,
    anchor_logit: FloatArray,
    anchor_weight: FloatArray,
    splitters: Splitters,
) -> float:
    """Root mean square error of the group share foretold for an anchor left out of the fit."""
    if not (anchor_weight > 0).any(axis=0).all():
        return np.inf  # some request would hang in the air
    usable = np.flatnonzero((anchor_weight > 0).any(axis=1))
    home, every_request = first.home[first.scored], np.arange(first.num_requests)
    errors: list[FloatArray] = []
    for anchor, group_share in zip(splitters.anchors, splitters.group_share, strict=True):
        others = usable[usable != anchor]
        if anchor not in usable or not len(others):
            continue
        lines = fit_affine(
            anchor_logit[others], anchor_weight[others], steps=LEAVE_ONE_OUT_STEPS, robust=True
        )
        values: FloatArray = lines.to_reference(logit, home)
        foretold = lines.to_reference(anchor_logit[anchor], every_request)
        not_below = len(values) - np.searchsorted(np.sort(values), foretold)
        errors.append(not_below / len(values) - group_share)
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else np.inf


def _reference_quantile(first: FirstRound, logit: FloatArray, share: FloatArray) -> FloatArray:
    """The logit that has such a share of documents above it in the average request.

    Quantile normalisation (Bolstad et al., doi 10.1093/bioinformatics/19.2.185): the requests are
    equivalent samples, so the mean of their quantiles is the quantile of the reference scale.
    """
    homes = [home for home in first.homes_in_order() if len(home)]
    quantile = np.zeros(len(share))
    for home in homes:
        middle = (np.arange(len(home)) + 0.5) / len(home)
        quantile += np.interp(share, middle, logit[home])
    return quantile / len(homes)
