"""The final request: the best documents scored together, with witnesses of those left out.

Invariant: of every list (see `lists`), the final request holds the first documents without a gap,
and the next one as witness. So every left-out document ranks below a witness.
"""

import math
from typing import Final, Literal

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.planning.packing import Packing
from pipeline.ranking.merging.comparability import Comparability
from pipeline.ranking.merging.first_round import FirstRound
from pipeline.ranking.merging.linking import Link
from pipeline.ranking.merging.lists import Lists
from pipeline.ranking.merging.merged import Head, Merged, by_link

MARGIN: Final = {"affine": 1.1, "rank": 1.4}
"""Documents sent per place of the head, by model: the rank model is coarser."""
SPARE: Final = 5
"""Documents sent in addition."""
DEEPER: Final = 3
"""Documents sent below a witness that reached the head, in addition to depth / lists."""


class LinkedGroup(Struct, frozen=True, eq=False):
    """The result of the first round that further requests start from.

    Attributes:
        packing: The group's packing, for the limits of a request.
        first: The first round.
        comparability: The test that failed.
        link: The linked order.
        max_tokens: The most tokens that the final request and a wider one may take together; None
            for any number.
    """

    packing: Packing
    first: FirstRound
    comparability: Comparability
    link: Link
    max_tokens: int | None

    def ranking(self, head: Head | None) -> Merged:
        """Rank a settled head, then all others in linked order; None if nothing was settled."""
        return by_link(self.first, self.comparability, self.link, head)

    def tokens(self, documents: IntArray) -> int:
        """Return the tokens of a request for documents."""
        packing = self.packing
        return len(documents) * packing.limits.pair_tokens + int(packing.tokens[documents].sum())


class FinalRequest(Struct, frozen=True, eq=False):
    """A request to send, and the ranking that follows from its answer.

    Attributes:
        documents: The documents to send together, ascending.
        witnesses: Those of them that are witnesses.
        linked: The result of the first round.
        lists: The known order of the documents.
        depth: How many places the final request shall settle.
        narrower: The head by the final request that this one widens; None for the first one.
    """

    documents: IntArray
    witnesses: IntArray
    linked: LinkedGroup
    lists: Lists
    depth: int
    narrower: Head | None = None

    @property
    def requests(self) -> tuple[IntArray, ...]:
        """The requests to send: this one."""
        return (self.documents,)

    def settle_all(self, answers: "list[FloatArray | None]") -> "Merged | FinalRequest":
        """Take the answer to the only one of `requests`."""
        (scores,) = answers
        return self.settle(scores)

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
        if scores is not None and len(scores) != len(self.documents):
            raise ValueError(
                f"the final request has {len(self.documents)} documents, "
                f"its answer {len(scores)} scores"
            )
        head = self.narrower
        if scores is not None and np.isfinite(scores).all():
            head = settled_head(self.documents, scores, self.witnesses)
            if self.narrower is not None and self.narrower.certified > head.certified:
                head = self.narrower
            elif self.narrower is None and head.certified < self.depth:
                wider = self._widen(head, scores)
                if wider is not None:
                    return wider
        return self.linked.ranking(head and head.cut(self.depth))

    def _widen(self, head: Head, scores: FloatArray) -> "FinalRequest | None":
        """Add more documents of each list whose witness is within the depth; None if too large."""
        linked, lists = self.linked, self.lists
        lowest = head.scores[min(self.depth, len(head.order)) - 1]
        risen = self.witnesses[scores[np.searchsorted(self.documents, self.witnesses)] >= lowest]
        start = np.full(lists.num_lists + 1, len(lists.place))  # the last one is that of NO_HOME
        start[lists.list_of[risen]] = lists.place[risen]
        deeper = math.ceil(self.depth / lists.num_lists) + DEEPER
        behind = lists.place - start[lists.list_of]
        extra = np.flatnonzero(lists.is_known & (0 <= behind) & (behind < deeper))
        # The order of one request is at least as fine as the affine model.
        kept = head.order[: with_margin(self.depth, "affine")]
        top, witnesses = lists.close(np.concatenate((kept, extra)))
        documents = np.sort(np.concatenate((top, witnesses)))
        if not linked.packing.fit_one_request(documents):
            return None
        both = linked.tokens(self.documents) + linked.tokens(documents)
        if linked.max_tokens is not None and both > linked.max_tokens:
            return None
        return FinalRequest(documents, witnesses, linked, lists, self.depth, head)


def with_margin(depth: int, model: Literal["affine", "rank"]) -> int:
    """Return how many documents to send, witnesses not counted, to settle `depth` places."""
    return math.ceil(MARGIN[model] * depth) + SPARE


def settled_head(documents: IntArray, scores: FloatArray, witnesses: IntArray) -> Head:
    """Return the order of a request's documents, certified down to its first witness.

    Of equal scores a witness counts as the best, so a place is certified up to ties.

    Args:
        documents: Those of the request, ascending.
        scores: Their scores.
        witnesses: Those of them that are witnesses.
    """
    order = np.argsort(-scores, kind="stable")  # equal scores keep key order
    best = scores[np.searchsorted(documents, witnesses)].max(initial=-np.inf)
    certified = min(1 + int((scores > best).sum()), len(documents))
    return Head(documents[order], scores[order], certified, float(best))
