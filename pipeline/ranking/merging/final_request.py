"""The final request: the best documents scored together, with witnesses for those left out.

Invariant: from every home request the final request holds the best documents and no gap, so that
what it leaves out of a home stands below that home's witness.
"""

import math
from typing import Final, Literal

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.planning.packing import NO_HOME, Packing
from pipeline.ranking.merging.comparability import Comparability
from pipeline.ranking.merging.first_round import FirstRound
from pipeline.ranking.merging.linking import Link
from pipeline.ranking.merging.merged import Merged, by_link

MARGIN: Final = {"affine": 1.1, "rank": 1.4}
"""Documents asked for each place of the head: the rank model is the coarser one."""
SPARE: Final = 5
"""Documents asked on top."""
SHRINK: Final = 0.93
"""PlannedGroup by which the number of documents falls until they fit the request."""
DEEPER: Final = 3
"""Documents asked behind a witness that reached the head, beyond the home's share of the head."""


class Standing(Struct, frozen=True, eq=False):
    """What a final request starts from, fixed by the first round.

    Attributes:
        packing: the group's packing, for costs and limits.
        first: the first round.
        comparability: why a link was needed.
        link: the linked order.
        depth: places to settle.
    """

    packing: Packing
    first: FirstRound
    comparability: Comparability
    link: Link
    depth: int

    def close(self, documents: IntArray) -> tuple[IntArray, IntArray]:
        """Fill up documents to whole tops of their homes.

        Returns:
            The tops' documents, and the witnesses: each home's best document below its top.
        """
        home, rank = self.first.home, self.first.rank
        reach = np.zeros(self.first.num_requests, dtype=np.int64)
        np.maximum.at(reach, home[documents], rank[documents] + 1)
        return np.flatnonzero(rank < reach[home]), np.flatnonzero(rank == reach[home])

    def ranking(self, head: IntArray, *, head_is_settled: bool = True) -> Merged:
        """Rank the head as it is, then all others as linked."""
        return by_link(
            self.first, self.comparability, self.link, head, head_is_settled=head_is_settled
        )


class FinalRequest(Struct, frozen=True, eq=False):
    """A request to send, and what to make of its answer.

    Attributes:
        documents: what to send together, ascending.
        witnesses: those of them that stand for documents left out.
        standing: what the first round fixed.
        settled: the order and certified depth of the final request that this one widens.
    """

    documents: IntArray
    witnesses: IntArray
    standing: Standing
    settled: tuple[IntArray, int] | None = None

    def settle(self, scores: FloatArray | None) -> "Merged | FinalRequest":
        """Make the answer's order the head as deep as the witnesses allow.

        If they do not allow the whole depth, one wider request is asked for, once. Without an
        answer for every document the head stays as it was: unsettled, which makes the ranking
        `unstable`, or as the narrower request settled it.

        Args:
            scores: one float per document, in their order; None where the request failed for good.

        Raises:
            ValueError: if the scores do not correspond to the documents.
        """
        standing = self.standing
        if scores is not None and len(scores) != len(self.documents):
            raise ValueError(
                f"the final request has {len(self.documents)} documents, "
                f"its answer {len(scores)} scores"
            )
        if scores is None or not np.isfinite(scores).all():
            order, proved = self.settled or (self.documents[:0], 0)
            head = order[: min(proved, standing.depth)]
            return standing.ranking(head, head_is_settled=self.settled is not None)

        order = self.documents[np.lexsort((standing.first.rank[self.documents], -scores))]
        place = _places(self.documents, scores, self.witnesses)
        proved = int(place.min(initial=len(order)))
        if self.settled is not None and self.settled[1] > proved:
            order, proved = self.settled
        elif self.settled is None and proved < standing.depth:
            wider = self._widen(order, place)
            if wider is not None:
                return wider
        return standing.ranking(order[: min(proved, standing.depth)])

    def _widen(self, order: IntArray, place: IntArray) -> "FinalRequest | None":
        """Ask again with more documents of the homes whose witness reached the head."""
        standing, first = self.standing, self.standing.first
        risen = self.witnesses[place <= standing.depth]
        start = np.full(first.num_requests, len(first.home))
        start[first.home[risen]] = first.rank[risen]
        deeper = math.ceil(standing.depth / first.num_requests) + DEEPER
        behind = first.rank - start[first.home]
        extra = np.flatnonzero((first.home != NO_HOME) & (0 <= behind) & (behind < deeper))
        kept = order[: _with_margin(standing.depth, "affine")]  # a scored order is a fine one
        top, witnesses = standing.close(np.concatenate((kept, extra)))
        documents = np.sort(np.concatenate((top, witnesses)))
        if not standing.packing.fit_one_request(documents):
            return None
        return FinalRequest(documents, witnesses, standing, (order, int(place.min())))


def settle_head(
    packing: Packing, first: FirstRound, comparability: Comparability, link: Link, depth: int
) -> Merged | FinalRequest:
    """Ask for the best documents and their witnesses, as many as fit one request.

    Where not even the witnesses fit, the linked order stands as it is, `unstable`.
    """
    standing = Standing(packing, first, comparability, link, min(depth, len(link.order)))
    most = min(_with_margin(standing.depth, link.model), packing.limits.max_documents)
    while most >= 1 and standing.depth >= 1:
        top, witnesses = standing.close(link.order[:most])
        documents = np.sort(np.concatenate((top, witnesses)))
        if packing.fit_one_request(documents):
            return FinalRequest(documents, witnesses, standing)
        most = int(SHRINK * most) - 1
    return standing.ranking(link.order[:0])


def _with_margin(depth: int, model: Literal["affine", "rank"]) -> int:
    return math.ceil(MARGIN[model] * depth) + SPARE


def _places(documents: IntArray, scores: FloatArray, witnesses: IntArray) -> IntArray:
    """Places of the witnesses from 1, each the best among its equals."""
    ascending = np.sort(scores)
    witness_scores = scores[np.searchsorted(documents, witnesses)]
    return 1 + len(scores) - np.searchsorted(ascending, witness_scores, side="right")
