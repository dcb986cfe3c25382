"""The result of merging: one ranking, and how deep it is certified.

Invariant: the order is by descending score, equal scores in key order; documents without a score
come last, in key order.
"""

import math
from typing import TypeGuard

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.core.records import MergeStatus
from pipeline.planning.packing import NO_HOME
from pipeline.ranking.merging.comparability import Comparability
from pipeline.ranking.merging.first_round import FirstRound
from pipeline.ranking.merging.linking import Link


class Merged(Struct, frozen=True, eq=False):
    """The merged ranking of a group's documents.

    Attributes:
        order: Every document once, best first, then those without a score in key order, int64[n].
        scores: Along the order, non-increasing, on one scale, float64[n]; NaN without a score. The
            service's own numbers for one request or comparable requests, else linked scores.
        status: How the ranking came about, see `merge`.
        certified_depth: How many places from the top no other scored document can claim; 0 if a
            request failed.
        comparability: The test of the anchors; None if it was not made.
        link: The link of the requests; None if none was needed.
    """

    order: IntArray
    scores: FloatArray
    status: MergeStatus
    certified_depth: int
    comparability: Comparability | None = None
    link: Link | None = None


def is_whole(answer: FloatArray | None, num_documents: int) -> TypeGuard[FloatArray]:
    """Return whether an answer has a finite score for every document."""
    return answer is not None and len(answer) == num_documents and bool(np.isfinite(answer).all())


def by_one_answer(answer: FloatArray) -> Merged:
    """Rank by the only answer: the result of `by_score`, computed faster for most groups."""
    order = np.argsort(-answer, kind="stable")
    return Merged(order, answer[order], "single_request", len(order))


def by_score(first: FirstRound, comparability: Comparability | None = None) -> Merged:
    """Rank by the service's own scores, as they are."""
    scored = first.scored
    ranked = scored[np.argsort(-first.score[scored], kind="stable")]
    status: MergeStatus = "single_request" if first.num_requests <= 1 else "comparable"
    if not len(first.home):
        status = "empty"
    return _merged(first, ranked, first.score[ranked], status, len(ranked), comparability)


def by_link(
    first: FirstRound,
    comparability: Comparability,
    link: Link,
    head: IntArray,
    *,
    head_is_settled: bool = True,
) -> Merged:
    """Rank the head in its given order, then the other documents in linked order.

    Args:
        first: The first round.
        comparability: The test that failed.
        link: The linked order.
        head: The first documents, in the order of the final request.
        head_is_settled: False if the final request was not answered.
    """
    in_head = np.zeros(len(first.home), dtype=np.bool_)
    in_head[head] = True
    ranked = np.concatenate((head, link.order[~in_head[link.order]]))
    scores = _running_minimum(link.score[ranked], ranked)
    status: MergeStatus = "unstable"
    if link.stable and head_is_settled:
        status = "linked_affine" if link.model == "affine" else "linked_rank"
    return _merged(first, ranked, scores, status, len(head), comparability, link)


def _merged(
    first: FirstRound,
    ranked: IntArray,
    scores: FloatArray,
    status: MergeStatus,
    certified_depth: int,
    comparability: Comparability | None,
    link: Link | None = None,
) -> Merged:
    without = np.flatnonzero(first.home == NO_HOME)
    if first.failed:
        status, certified_depth = "incomplete", 0
    return Merged(
        np.concatenate((ranked, without)),
        np.concatenate((scores, np.full(len(without), np.nan))),
        status,
        certified_depth,
        comparability,
        link,
    )


def _running_minimum(scores: FloatArray, ranked: IntArray) -> FloatArray:
    """Return the running minimum of scores along a ranking.

    Two equal scores would sort in key order. If the ranking has them the other way, the lower one
    is decreased to the next smaller float64.
    """
    lowest, previous = math.inf, -1
    minima = []
    for score, document in zip(scores.tolist(), ranked.tolist(), strict=True):
        limit = lowest if document > previous else math.nextafter(lowest, -math.inf)
        lowest, previous = min(score, limit), document
        minima.append(lowest)
    return np.array(minima, dtype=np.float64)
