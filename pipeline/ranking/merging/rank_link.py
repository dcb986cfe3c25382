"""The rank link: documents are counted between anchors, which here are called *splitters*.

A document above an anchor in one request is above it in every request, whatever increasing function
each request applies. So an anchor's rank in the whole group is the sum of its ranks in all
requests, and a document between two anchors has a group rank between theirs (an equipercentile link
through anchors; Kolen & Brennan, doi 10.1007/978-1-4939-0317-7). Without anchors the result is the
percentile in the home request, the best estimate for requests that are equivalent samples.
"""

from typing import Final

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.ranking.merging.first_round import FirstRound

TIE_STEPS: Final = 20
"""Iterations that place splitters among documents of equal score."""


class RankLink(Struct, frozen=True, eq=False):
    """Counts of documents above k splitters: the anchors that all C requests scored.

    Attributes:
        anchors: Indices of the splitters among the first round's anchors, int64[k].
        above: For each splitter and request, the number of home documents above it, other splitters
            not counted, float64[k, C].
        num_home: Home documents of each request, splitters not counted, float64[C].
    """

    anchors: IntArray
    above: FloatArray
    num_home: FloatArray

    @property
    def group_share(self) -> FloatArray:
        """Share of the group above each splitter, float64[k]."""
        share: FloatArray = self.above.sum(axis=1) / max(self.num_home.sum(), 1)
        return share

    def to_group_share(self, above: FloatArray, request: int) -> FloatArray:
        """Return the share of the group above documents of a request, by linear interpolation.

        Args:
            above: How many home documents of the request are above each document.
            request: The request.
        """
        group_share = self.group_share
        order = np.lexsort((self.above[:, request], group_share))
        here = np.concatenate(([0.0], self.above[order, request], self.num_home[[request]]))
        here = np.maximum.accumulate(here)  # with noise, two splitters may swap in one request
        everywhere = np.concatenate(([0.0], group_share[order], [1.0]))
        left = np.minimum(np.searchsorted(here, above, side="right") - 1, len(here) - 2)
        part = (above - here[left]) / np.maximum(here[left + 1] - here[left], 1e-9)
        share: FloatArray = everywhere[left] + part * (everywhere[left + 1] - everywhere[left])
        return share

    def leave_one_out_error(self) -> float:
        """Return the root mean square error of the predicted group share of left-out splitters."""
        if not len(self.anchors):
            return np.inf
        squares = 0.0
        for left_out, group_share in enumerate(self.group_share):
            kept = np.delete(np.arange(len(self.anchors)), left_out)
            others = RankLink(self.anchors[kept], self.above[kept], self.num_home)
            for request in range(len(self.num_home)):
                predicted = others.to_group_share(self.above[[left_out], request], request)
                squares += float(predicted[0] - group_share) ** 2
        return float(np.sqrt(squares / self.above.size))


def _among_equals(least: FloatArray, most: FloatArray, num_home: FloatArray) -> FloatArray:
    """Place splitters among documents of equal score by their share of the group.

    A saturated score (0 or 1) is equal to that of many documents. The requests in which the
    splitter is not saturated determine where it belongs among them.

    Args:
        least: Home documents of a higher score than each splitter, float64[k, C].
        most: Home documents of a higher or an equal score, float64[k, C].
        num_home: Home documents of each request, float64[C].
    """
    above = (least + most) / 2
    for _ in range(TIE_STEPS):
        share = above.sum(axis=1, keepdims=True) / max(num_home.sum(), 1)
        above = np.clip(share * num_home, least, most)
    return above


def fit_rank_link(first: FirstRound) -> tuple[RankLink, FloatArray]:
    """Count the documents between splitters.

    Returns:
        The counts, and for each document the share of the group above it, float64[n]; NaN without a
        score.
    """
    anchors = np.flatnonzero(np.isfinite(first.anchor_scores).all(axis=1))
    is_splitter = np.zeros(len(first.home), dtype=np.bool_)
    is_splitter[first.anchors[anchors]] = True
    homes = first.homes_in_order()
    num_home = np.array([np.count_nonzero(~is_splitter[home]) for home in homes], dtype=np.float64)
    least, most = np.empty((2, len(anchors), first.num_requests))
    for request, home in enumerate(homes):
        ascending = first.score[home[~is_splitter[home]]][::-1]
        scores = first.anchor_scores[anchors, request]
        below = np.searchsorted(ascending, scores, side="left")
        not_above = np.searchsorted(ascending, scores, side="right")
        least[:, request] = len(ascending) - not_above
        most[:, request] = len(ascending) - below
    ranks = RankLink(anchors, _among_equals(least, most, num_home), num_home)

    share = np.full(len(first.home), np.nan)
    share[first.anchors[anchors]] = ranks.group_share
    for request, home in enumerate(homes):
        counted = ~is_splitter[home]
        between = ranks.to_group_share(counted.cumsum() - counted / 2, request)
        share[home] = np.maximum.accumulate(np.where(counted, between, share[home]))
    return ranks, share
