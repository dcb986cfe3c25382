"""The outcome of merging: one ranking, with what is proved about it.

Invariant: sorting by score, equal scores in key order, gives the ranking back; documents without
a score come last, in key order.
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
    """A group's ranking.

    Attributes:
        order: every document once, best first, then those without a score in key order, int64[n].
        scores: along the order and non-increasing, on one scale, float64[n]; NaN without. The
            service's own numbers for one request or comparable ones, else linked scores.
        status: how the ranking came about.
        certified_depth: places from the top that no other document with a score can claim; 0 if
            a request failed.
        comparability: what the anchors said; None where they were not asked.
        link: how the requests were linked; None where no link was needed.
    """

    order: IntArray
    scores: FloatArray
    status: MergeStatus
    certified_depth: int
    comparability: Comparability | None = None
    link: Link | None = None


def is_whole(answer: FloatArray | None, num_documents: int) -> TypeGuard[FloatArray]:
    """Whether an answer has a finite score for every document."""
    return answer is not None and len(answer) == num_documents and bool(np.isfinite(answer).all())


def by_one_answer(answer: FloatArray) -> Merged:
    """Rank by the one whole answer, as most groups are; what `by_score` would find, sooner."""
    order = np.argsort(-answer, kind="stable")
    return Merged(order, answer[order], "single_request", len(order))


def by_score(first: FirstRound, comparability: Comparability | None = None) -> Merged:
    """Rank by the service's own scores."""
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
    """Rank the head as it is, then the other documents in linked order.

    Args:
        first: the first round.
        comparability: why a link was needed.
        link: the linked order.
        head: the first documents, in the order of the final request.
        head_is_settled: whether the final request, if one was needed, was answered.
    """
    in_head = np.zeros(len(first.home), dtype=np.bool_)
    in_head[head] = True
    ranked = np.concatenate((head, link.order[~in_head[link.order]]))
    scores = _never_rising(link.score[ranked], ranked)
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


def _never_rising(scores: FloatArray, ranked: IntArray) -> FloatArray:
    """The running minimum of scores along a ranking.

    Where equal scores would put documents back into key order, the lower one goes down by the
    smallest step that a float64 can make.
    """
    lowest, above = math.inf, -1
    falling = []
    for score, document in zip(scores.tolist(), ranked.tolist(), strict=True):
        limit = lowest if document > above else math.nextafter(lowest, -math.inf)
        lowest, above = min(score, limit), document
        falling.append(lowest)
    return np.array(falling, dtype=np.float64)
