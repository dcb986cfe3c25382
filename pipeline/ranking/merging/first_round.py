"""The answers of the first round, aligned by document.

Invariant: the documents of a failed request have no score, as if they had never been sent. Only its
anchors keep a score, that of another request.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.planning.packing import NO_HOME, Packing
from pipeline.ranking.merging.normalisation import (
    are_spread_alike,
    follow_from_ranks,
    look_normalised,
)


class FirstRound(Struct, frozen=True, eq=False):
    """Scores of n documents in the C requests that have at least one score.

    Attributes:
        home: The home request of each document, int64[n]; `NO_HOME` without a score.
        score: The score in the home request, float64[n]; NaN without.
        rank: The rank from 0 among the home's documents, by descending score and then by key,
            int64[n]; n without a score.
        anchors: The k anchors that have a score in any request, ascending.
        anchor_scores: Their scores in every request, float64[k, C]; NaN where missing.
        dealt: Whether the homes are equivalent samples of the group.
        failed: How many requests of the packing failed as a whole.
        normalised: Whether the answers look normalised over their request.
        rank_shaped: Whether the scores of each request follow from their ranks alone.
    """

    home: IntArray
    score: FloatArray
    rank: IntArray
    anchors: IntArray
    anchor_scores: FloatArray
    dealt: bool
    failed: int
    normalised: bool
    rank_shaped: bool

    @property
    def num_requests(self) -> int:
        """C, the number of requests that have a score."""
        return int(self.anchor_scores.shape[1])

    @property
    def scored(self) -> IntArray:
        """The documents that have a score, ascending."""
        return np.flatnonzero(self.home != NO_HOME)

    def homes_in_order(self) -> list[IntArray]:
        """Return the scored home documents of each request, best first."""
        order = np.lexsort((self.rank, self.home))
        bounds = np.searchsorted(self.home[order], np.arange(self.num_requests + 1))
        return [order[start:stop] for start, stop in pairwise(bounds)]

    @property
    def all_scores(self) -> FloatArray:
        """All scores of the group, anchors' repeats included, in no particular order."""
        scores = np.concatenate((self.score, self.anchor_scores.ravel()))
        return scores[np.isfinite(scores)]


def collect_first_round(packing: Packing, answers: Sequence[FloatArray | None]) -> FirstRound:
    """Align the answers of `packing.requests` by document.

    Args:
        packing: How the group was packed.
        answers: The scores of each request, in the request's order, NaN for a document without a
            score; None for a request that failed.

    Raises:
        ValueError: if the answers are not one per request, or one is not as long as its request.
    """
    requests = packing.requests
    if len(answers) != len(requests):
        raise ValueError(f"{len(answers)} answers for {len(requests)} requests")
    for index, (documents, answer) in enumerate(zip(requests, answers, strict=True)):
        if answer is not None and len(answer) != len(documents):
            raise ValueError(
                f"request {index} has {len(documents)} documents, its answer {len(answer)} scores"
            )
    answered = [
        (documents, len(home), answer)
        for documents, home, answer in zip(requests, packing.homes, answers, strict=True)
        if answer is not None and np.isfinite(answer).any()
    ]

    num_documents, num_requests = len(packing.tokens), len(answered)
    home = np.full(num_documents, NO_HOME, dtype=np.int64)
    score = np.full(num_documents, np.nan)
    anchor_scores = np.full((len(packing.anchors), num_requests), np.nan)
    for request, (documents, num_home, answer) in enumerate(answered):
        # The home of an anchor whose home request failed is the first request that scored it.
        adopts = np.isfinite(answer) & (home[documents] == NO_HOME)
        adopts[:num_home] = np.isfinite(answer[:num_home])
        home[documents[adopts]] = request
        score[documents[adopts]] = answer[adopts]
        in_request = np.argsort(documents)
        place = np.searchsorted(documents, packing.anchors, sorter=in_request)
        anchor_scores[:, request] = answer[in_request[place]]
    anchor_scores[~np.isfinite(anchor_scores)] = np.nan
    usable = np.isfinite(anchor_scores).any(axis=1)
    scores_of_each = [answer for _, _, answer in answered]
    return FirstRound(
        home=home,
        score=score,
        rank=_rank_at_home(home, score),
        anchors=packing.anchors[usable],
        anchor_scores=anchor_scores[usable],
        dealt=packing.dealt,
        failed=sum(answer is None for answer in answers),
        normalised=(
            look_normalised(scores_of_each, [documents for documents, _, _ in answered])
            or are_spread_alike(scores_of_each)
        ),
        rank_shaped=follow_from_ranks(scores_of_each),
    )


def _rank_at_home(home: IntArray, score: FloatArray) -> IntArray:
    order = np.lexsort((-score, home))  # stable: equal scores keep key order
    first_place = np.searchsorted(home[order], home[order])
    rank = np.empty_like(home)
    rank[order] = np.arange(len(home)) - first_place
    rank[home == NO_HOME] = len(home)
    return rank
