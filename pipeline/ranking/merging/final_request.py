"""The final request: the best documents scored together, with witnesses of those left out.

Invariant: of every home request, the final request holds the best documents without a gap. So
every left-out document ranks below the witness of its home request.
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
"""Documents sent per place of the head, by model: the rank model is coarser."""
SPARE: Final = 5
"""Documents sent in addition."""
SHRINK: Final = 0.93
"""Factor by which the number of documents is reduced until they fit the request."""
DEEPER: Final = 3
"""Documents sent below a witness that reached the head, in addition to depth / requests."""


class LinkedGroup(Struct, frozen=True, eq=False):
    """The result of the first round that final requests start from.

    Attributes:
        packing: The group's packing, for the limits of a request.
        first: The first round.
        comparability: The test that failed.
        link: The linked order.
        depth: How many places the final request shall settle.
    """

    packing: Packing
    first: FirstRound
    comparability: Comparability
    link: Link
    depth: int

    def close(self, documents: IntArray) -> tuple[IntArray, IntArray]:
        """Extend documents so that they hold the best of each home request without a gap.

        Returns:
            The extended documents, and the witnesses: the next document of each home request.
        """
        home, rank = self.first.home, self.first.rank
        reach = np.zeros(self.first.num_requests, dtype=np.int64)
        np.maximum.at(reach, home[documents], rank[documents] + 1)
        return np.flatnonzero(rank < reach[home]), np.flatnonzero(rank == reach[home])

    def ranking(self, head: IntArray, *, head_is_settled: bool = True) -> Merged:
        """Rank the head in its given order, then all others in linked order."""
        return by_link(
            self.first, self.comparability, self.link, head, head_is_settled=head_is_settled
        )


class FinalRequest(Struct, frozen=True, eq=False):
    """A request to send, and the ranking that follows from its answer.

    Attributes:
        documents: The documents to send together, ascending.
        witnesses: Those of them that are witnesses.
        linked: The result of the first round.
        narrower: The order and the certified depth by the final request that this one widens; None
            for the first one.
    """

    documents: IntArray
    witnesses: IntArray
    linked: LinkedGroup
    narrower: tuple[IntArray, int] | None = None

    def settle(self, scores: FloatArray | None) -> "Merged | FinalRequest":
        """Take the order of the answer as the head, down to the first witness.

        If a witness is within the depth, the first final request returns a wider one, if that fits
        a request. If a document has no score, the head is that of the narrower final request;
        without one the ranking is `unstable`.

        Args:
            scores: One float per document, in their order; None if the request failed.

        Raises:
            ValueError: if the scores do not correspond to the documents.
        """
        linked = self.linked
        if scores is not None and len(scores) != len(self.documents):
            raise ValueError(
                f"the final request has {len(self.documents)} documents, "
                f"its answer {len(scores)} scores"
            )
        if scores is None or not np.isfinite(scores).all():
            order, certified = self.narrower or (self.documents[:0], 0)
            head = order[: min(certified, linked.depth)]
            return linked.ranking(head, head_is_settled=self.narrower is not None)

        order = self.documents[np.lexsort((linked.first.rank[self.documents], -scores))]
        place = _places(self.documents, scores, self.witnesses)
        certified = int(place.min(initial=len(order)))
        if self.narrower is not None and self.narrower[1] > certified:
            order, certified = self.narrower
        elif self.narrower is None and certified < linked.depth:
            wider = self._widen(order, place)
            if wider is not None:
                return wider
        return linked.ranking(order[: min(certified, linked.depth)])

    def _widen(self, order: IntArray, place: IntArray) -> "FinalRequest | None":
        """Add more documents of each home whose witness reached the head; None if too large."""
        linked, first = self.linked, self.linked.first
        risen = self.witnesses[place <= linked.depth]
        start = np.full(first.num_requests, len(first.home))
        start[first.home[risen]] = first.rank[risen]
        deeper = math.ceil(linked.depth / first.num_requests) + DEEPER
        behind = first.rank - start[first.home]
        extra = np.flatnonzero((first.home != NO_HOME) & (0 <= behind) & (behind < deeper))
        # The order of one request is at least as fine as the affine model.
        kept = order[: _with_margin(linked.depth, "affine")]
        top, witnesses = linked.close(np.concatenate((kept, extra)))
        documents = np.sort(np.concatenate((top, witnesses)))
        if not linked.packing.fit_one_request(documents):
            return None
        return FinalRequest(documents, witnesses, linked, (order, int(place.min())))


def settle_head(
    packing: Packing, first: FirstRound, comparability: Comparability, link: Link, depth: int
) -> Merged | FinalRequest:
    """Return the final request: the best documents and the witnesses, as many as fit one request.

    If the witnesses alone do not fit, return the linked order, with nothing certified.
    """
    linked = LinkedGroup(packing, first, comparability, link, min(depth, len(link.order)))
    most = min(_with_margin(linked.depth, link.model), packing.limits.max_documents)
    while most >= 1 and linked.depth >= 1:
        top, witnesses = linked.close(link.order[:most])
        documents = np.sort(np.concatenate((top, witnesses)))
        if packing.fit_one_request(documents):
            return FinalRequest(documents, witnesses, linked)
        most = int(SHRINK * most) - 1
    return linked.ranking(link.order[:0])


def _with_margin(depth: int, model: Literal["affine", "rank"]) -> int:
    return math.ceil(MARGIN[model] * depth) + SPARE


def _places(documents: IntArray, scores: FloatArray, witnesses: IntArray) -> IntArray:
    """Places of the witnesses, from 1; of equal scores a witness has the best place."""
    ascending = np.sort(scores)
    witness_scores = scores[np.searchsorted(documents, witnesses)]
    return 1 + len(scores) - np.searchsorted(ascending, witness_scores, side="right")
