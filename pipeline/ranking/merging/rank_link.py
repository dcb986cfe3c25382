"""The rank link: anchors split every request, and documents are counted between them.

A document above an anchor in one request is above it in all, whatever increasing function each
request applies. So the anchor's rank in the whole group is known by adding up its rank in every
request, and a document between two anchors lies between their group ranks (an equipercentile
link through anchors; Kolen & Brennan, doi 10.1007/978-1-4939-0317-7). Without any anchor this is
the percentile in the home request, the best guess for requests that are equivalent samples.
"""

from typing import Final

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.ranking.merging.first_round import FirstRound

TIE_STEPS: Final = 20
"""Rounds of placing splitters among their equals."""


class Splitters(Struct, frozen=True, eq=False):
    """k anchors scored in all C requests, by the counts of documents above them.

    Attributes:
        anchors: which of the first round's anchors they are, int64[k].
        above: in each request, its home documents above each splitter, splitters left out,
            float64[k, C].
        num_home: home documents of each request, splitters left out, float64[C].
    """

    anchors: IntArray
    above: FloatArray
    num_home: FloatArray

    @property
    def group_share(self) -> FloatArray:
        """Share of the whole group that stands above each splitter, float64[k]."""
        share: FloatArray = self.above.sum(axis=1) / max(self.num_home.sum(), 1)
        return share

    def to_group_share(self, above: FloatArray, request: int) -> FloatArray:
        """Share of the group above documents that have so many above them in their request."""
        group_share = self.group_share
        order = np.lexsort((self.above[:, request], group_share))
        here = np.concatenate(([0.0], self.above[order, request], self.num_home[[request]]))
        here = np.maximum.accumulate(here)  # noise may disagree with the group about neighbours
        everywhere = np.concatenate(([0.0], group_share[order], [1.0]))
        left = np.minimum(np.searchsorted(here, above, side="right") - 1, len(here) - 2)
        part = (above - here[left]) / np.maximum(here[left + 1] - here[left], 1e-9)
        share: FloatArray = everywhere[left] + part * (everywhere[left + 1] - everywhere[left])
        return share

    def leave_one_out_error(self) -> float:
        """Root mean square error of the group share foretold for a splitter left out."""
        if not len(self.anchors):
            return np.inf
        squares = 0.0
        for left_out, group_share in enumerate(self.group_share):
            kept = np.delete(np.arange(len(self.anchors)), left_out)
            others = Splitters(self.anchors[kept], self.above[kept], self.num_home)
            for request in range(len(self.num_home)):
                foretold = others.to_group_share(self.above[[left_out], request], request)
                squares += float(foretold[0] - group_share) ** 2
        return float(np.sqrt(squares / self.above.size))


def _among_equals(least: FloatArray, most: FloatArray, num_home: FloatArray) -> FloatArray:
    """Place splitters among documents of equal score: where their share in the group says.

    Scores that ran into 0 or 1 tie with many documents; requests that still tell the splitter
    apart say where among them it belongs.

    Args:
        least: home documents surely above each splitter, float64[k, C].
        most: the same with all equal ones, float64[k, C].
        num_home: home documents of each request, float64[C].
    """
    above = (least + most) / 2
    for _ in range(TIE_STEPS):
        share = above.sum(axis=1, keepdims=True) / max(num_home.sum(), 1)
        above = np.clip(share * num_home, least, most)
    return above


def split(first: FirstRound) -> tuple[Splitters, FloatArray]:
    """Count documents between splitters.

    Returns:
        The splitters, and for each document the share of the group above it, float64[n]; NaN
        without a score.
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
    splitters = Splitters(anchors, _among_equals(least, most, num_home), num_home)

    share = np.full(len(first.home), np.nan)
    share[first.anchors[anchors]] = splitters.group_share
    for request, home in enumerate(homes):
        counted = ~is_splitter[home]
        between = splitters.to_group_share(counted.cumsum() - counted / 2, request)
        share[home] = np.maximum.accumulate(np.where(counted, between, share[home]))
    return splitters, share
