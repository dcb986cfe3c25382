"""The result of merging: one ranking, and how deep it is certified.

Invariant: the order is by descending score, equal scores in key order; documents without a score
come last, in key order.
"""

from typing import TypeGuard

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.core.records import MergeStatus
from pipeline.planning.packing import NO_HOME
from pipeline.ranking.merging.comparability import Comparability
from pipeline.ranking.merging.first_round import FirstRound
from pipeline.ranking.merging.linked_scores import decreasing_scores
from pipeline.ranking.merging.linking import Link


class Head(Struct, frozen=True, eq=False):
    """The first places, as a final request settled them.

    Attributes:
        order: The documents of the final request, best first; equal scores in key order.
        scores: Their scores in it, float64 along the order.
        certified: How many of them no other document can precede.
        best_witness: The best score of a witness, which that of a left-out document may equal;
            minus infinity without a witness.
    """

    order: IntArray
    scores: FloatArray
    certified: int
    best_witness: float

    def cut(self, depth: int) -> "Head":
        """Return the certified places, at most `depth`, and the document behind them."""
        certified = min(self.certified, depth)
        order, scores = self.order[: certified + 1], self.scores[: certified + 1]
        return Head(order, scores, certified, self.best_witness)

    @property
    def open_tie(self) -> bool:
        """Whether a document that is not certified may have the score of the last certified one."""
        behind = self.scores[self.certified :].max(initial=self.best_witness)
        return self.certified > 0 and bool(self.scores[self.certified - 1] <= behind)


class Merged(Struct, frozen=True, eq=False):
    """The merged ranking of a group's documents.

    Attributes:
        order: Every document once, best first, then those without a score in key order, int64[n].
        scores: Along the order, non-increasing, on one scale, float64[n]; NaN without a score. The
            service's own numbers for one request, comparable or trusted requests; else linked
            scores, which are equal only where the documents are tied.
        status: How the ranking came about, see `merge`.
        certified_depth: How many places from the top no other scored document can claim; 0 if a
            request failed.
        comparability: The test of the anchors; None if it was not made.
        link: The link of the requests; None if none was needed.
        open_tie: Whether the last certified document may be tied with one that is not certified.
    """

    order: IntArray
    scores: FloatArray
    status: MergeStatus
    certified_depth: int
    comparability: Comparability | None = None
    link: Link | None = None
    open_tie: bool = False


def is_whole(answer: FloatArray | None, num_documents: int) -> TypeGuard[FloatArray]:
    """Return whether an answer has a finite score for every document."""
    return answer is not None and len(answer) == num_documents and bool(np.isfinite(answer).all())


def by_one_answer(answer: FloatArray) -> Merged:
    """Rank by the only answer: the result of `by_score`, computed faster for most groups."""
    order = np.argsort(-answer, kind="stable")
    return Merged(order, answer[order], "single_request", len(order))


def by_score(first: FirstRound, comparability: Comparability | None = None) -> Merged:
    """Rank by the service's own scores, as they are.

    Args:
        first: The first round.
        comparability: The test that the requests passed; None if their scores are trusted.
    """
    scored = first.scored
    ranked = scored[np.argsort(-first.score[scored], kind="stable")]
    status: MergeStatus
    if first.num_requests <= 1:
        status = "single_request" if len(first.home) else "empty"
    else:
        status = "trusted" if comparability is None else "comparable"
    certified = 0 if status == "trusted" else len(ranked)
    return _merged(first, Merged(ranked, first.score[ranked], status, certified, comparability))


def by_link(
    first: FirstRound, comparability: Comparability, link: Link, head: Head | None
) -> Merged:
    """Rank the certified head in its given order, then the other documents in linked order.

    Args:
        first: The first round.
        comparability: The test that failed.
        link: The linked order.
        head: The settled head, cut to the depth; None if there was no answer to a final request.
    """
    settled = first.scored[:0] if head is None else head.order[: head.certified]
    in_head = np.zeros(len(first.home), dtype=np.bool_)
    in_head[settled] = True
    rest = link.order[~in_head[link.order]]
    # Two documents are tied if they stand together and one request gave both the same score.
    tied = np.zeros(len(link.order), dtype=np.bool_)
    tied[len(settled) + 1 :] = (np.diff(first.home[rest]) == 0) & (np.diff(first.score[rest]) == 0)
    if head is not None:
        tied[1 : len(settled)] = np.diff(head.scores[: len(settled)]) == 0
    ranked = np.concatenate((settled, rest))
    scores = decreasing_scores(link.score[ranked], tied, least=link.least)
    status: MergeStatus = "unstable"
    if link.stable and head is not None:
        status = "linked_affine" if link.model == "affine" else "linked_rank"
    merged = Merged(
        ranked,
        scores,
        status,
        len(settled),
        comparability,
        link,
        open_tie=head is not None and head.open_tie,
    )
    return _merged(first, merged)


def _merged(first: FirstRound, of_scored: Merged) -> Merged:
    """Add the documents without a score, and the status if a request failed."""
    without = np.flatnonzero(first.home == NO_HOME)
    failed = first.failed > 0
    return Merged(
        np.concatenate((of_scored.order, without)),
        np.concatenate((of_scored.scores, np.full(len(without), np.nan))),
        "incomplete" if failed else of_scored.status,
        0 if failed else of_scored.certified_depth,
        of_scored.comparability,
        of_scored.link,
        open_tie=of_scored.open_tie and not failed,
    )
