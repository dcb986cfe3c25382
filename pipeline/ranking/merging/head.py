"""Settle the head: one final request, or preliminary requests before it.

If the witnesses of all lists fit one final request with enough documents, it is sent. Otherwise the
lists are divided into sections. For each section a *preliminary request* scores its best documents
together, with its witnesses, and settles the first places of the section, as a final request
does those of the group. Each section is then one list, so there are fewer lists and witnesses.

The certificate is the same argument, applied twice. Every request orders its own documents rightly;
documents with equal scores in a request, such as scores saturated at 1, count as equal.

1. A preliminary request holds the first documents of each list of its section, and the next one of
   each list as witness. Let p be the last certified place of its order: that of the best witness.
   A document of the section that has no certified place ranks below the document at p: if it was
   sent, by its own score; if not, because it ranks below the witness of its list, and no witness
   ranks above p.
2. The final request holds the first m certified places of each section, and place m + 1, which is
   certified too, as witness w. A document of the section that is left out ranks below w: if its
   place is certified, by the order of the preliminary request; if not, because by 1 it ranks below
   the document at p, which is w or ranks below w.
3. So no document that is left out can claim a place above the best witness of the final request.

Step 1 needs only one property of the lists: documents left out of a list rank below its witness.
Step 2 proves this property for a section. So sections may be divided again, to any number of
levels.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.planning.packing import NO_HOME, Packing
from pipeline.ranking.merging.comparability import Comparability
from pipeline.ranking.merging.final_request import (
    FinalRequest,
    LinkedGroup,
    settled_head,
    with_margin,
)
from pipeline.ranking.merging.first_round import FirstRound
from pipeline.ranking.merging.levels import (
    LEAST_DEPTH,
    capacity_for_any,
    enough_documents,
    num_sections_of,
)
from pipeline.ranking.merging.linking import Link
from pipeline.ranking.merging.lists import Lists
from pipeline.ranking.merging.merged import Merged

MOST_DEPTH: Final = 100
"""Without a given depth at most so many places are to be settled."""
FINAL_SHARE: Final = 1 / 4
"""Without a given depth final requests take at most this share of the group's tokens."""
SHRINK: Final = 0.93
"""Factor by which the number of documents is reduced until they fit the request."""


class PreliminaryRequests(Struct, frozen=True, eq=False):
    """One request for each section of the lists; together they make fewer lists.

    Attributes:
        requests: The documents of each section to send together, ascending.
        witnesses: Those of them that are witnesses.
        sections: The lists of each section.
        linked: The result of the first round.
        lists: What is known of the documents' order.
        depth: How many places the final request shall settle; None for the default.
    """

    requests: tuple[IntArray, ...]
    witnesses: tuple[IntArray, ...]
    sections: tuple[IntArray, ...]
    linked: LinkedGroup
    lists: Lists
    depth: int | None

    def settle_all(
        self, answers: Sequence[FloatArray | None]
    ) -> "Merged | FinalRequest | PreliminaryRequests":
        """Return what follows from the answers: the next requests.

        If a document has no score, nothing can be certified, and the ranking is `unstable`.

        Args:
            answers: The scores of each request, in its order; None for one that failed.

        Raises:
            ValueError: if the answers do not correspond to the requests.
        """
        if list(map(len, self.requests)) != [
            len(documents) if scores is None else len(scores)
            for documents, scores in zip(self.requests, answers, strict=True)
        ]:
            raise ValueError("the answers do not correspond to the preliminary requests")
        num_documents = len(self.lists.place)
        place = np.full(num_documents, num_documents)
        section_of = np.full(self.lists.num_lists + 1, NO_HOME)  # the last one is that of NO_HOME
        known = np.zeros(len(self.requests), dtype=np.int64)
        size = np.zeros(len(self.requests), dtype=np.int64)
        for section, scores in enumerate(answers):
            if scores is None or not np.isfinite(scores).all():
                return self.linked.ranking(None)
            head = settled_head(self.requests[section], scores, self.witnesses[section])
            place[head.order[: head.certified]] = np.arange(head.certified)
            section_of[self.sections[section]] = section
            known[section] = head.certified
            size[section] = self.lists.size[self.sections[section]].sum()
        lists = Lists(section_of[self.lists.list_of], place, known, size)
        return _settle(self.linked, lists, self.depth)


def settle_head(
    packing: Packing, first: FirstRound, comparability: Comparability, link: Link, depth: int | None
) -> Merged | FinalRequest | PreliminaryRequests:
    """Return the requests that settle the head.

    If not even the witnesses of a few lists fit one request, return the linked order, `unstable`
    and with nothing certified.

    Args:
        packing: The group's packing.
        first: The first round.
        comparability: The test that failed.
        link: The linked order.
        depth: How many places to settle. None for as many as final requests settle that take at
            most a quarter of the group's tokens: at least 10, at most 100.
    """
    linked = LinkedGroup(packing, first, comparability, link, None)
    if depth is None:
        everything = np.arange(len(packing.tokens))
        limit = int(FINAL_SHARE * linked.tokens(everything))
        linked = LinkedGroup(packing, first, comparability, link, limit)
    return _settle(linked, Lists.of(first), depth)


def _settle(
    linked: LinkedGroup, lists: Lists, depth: int | None
) -> Merged | FinalRequest | PreliminaryRequests:
    known = _known_order(linked.link, lists)
    capacity, model = capacity_for_any(linked.packing), linked.link.model
    if depth is not None:
        depth = min(depth, len(linked.link.order))
    if not _fits(linked, *lists.close(known[: enough_documents(depth, capacity)])):
        if num_sections := num_sections_of(lists.num_lists, capacity):
            return _preliminary(linked, lists, depth, num_sections)
    if depth is None:
        depth = _default_depth(linked, lists, known)
    pool = _pool(linked, lists, known, with_margin(depth, model)) if depth else None
    if pool is None:
        return linked.ranking(None)
    top, witnesses = pool
    documents = np.sort(np.concatenate((top, witnesses)))
    return FinalRequest(documents, witnesses, linked, lists, depth)


def _preliminary(
    linked: LinkedGroup, lists: Lists, depth: int | None, num_sections: int
) -> PreliminaryRequests:
    sections = tuple(
        np.arange(start, lists.num_lists, num_sections) for start in range(num_sections)
    )
    most = with_margin(MOST_DEPTH if depth is None else depth, linked.link.model)
    requests, witnesses = list[IntArray](), list[IntArray]()
    for section in sections:
        own = lists.take(section)
        pool = _pool(linked, own, _known_order(linked.link, own), most)
        assert pool is not None, "half of what fits is witnesses at most"
        requests.append(np.sort(np.concatenate(pool)))
        witnesses.append(pool[1])
    return PreliminaryRequests(tuple(requests), tuple(witnesses), sections, linked, lists, depth)


def _known_order(link: Link, lists: Lists) -> IntArray:
    """Return the documents of known places in linked order, those of a list in its own order."""
    linked = link.order[lists.is_known[link.order]]
    rank = np.arange(len(linked))
    by_place = np.lexsort((lists.place[linked], lists.list_of[linked]))
    by_rank = np.lexsort((rank, lists.list_of[linked]))
    order = np.empty_like(linked)
    order[rank[by_rank]] = linked[by_place]
    return order


def _pool(
    linked: LinkedGroup, lists: Lists, order: IntArray, most: int
) -> tuple[IntArray, IntArray] | None:
    """Return the best documents and their witnesses, as many as fit one request; None for none."""
    most = min(most, linked.packing.limits.max_documents)
    while most >= 1:
        top, witnesses = lists.close(order[:most])
        if _fits(linked, top, witnesses):
            return top, witnesses
        most = int(SHRINK * most) - 1
    return None


def _fits(linked: LinkedGroup, top: IntArray, witnesses: IntArray) -> bool:
    return linked.packing.fit_one_request(np.concatenate((top, witnesses)))


def _default_depth(linked: LinkedGroup, lists: Lists, order: IntArray) -> int:
    """Return the greatest depth whose final request fits and takes few tokens."""

    def too_deep(depth: int) -> bool:
        top, witnesses = lists.close(order[: with_margin(depth, linked.link.model)])
        if not _fits(linked, top, witnesses):
            return True
        tokens = linked.tokens(np.concatenate((top, witnesses)))
        return linked.max_tokens is not None and tokens > linked.max_tokens

    depths = range(LEAST_DEPTH, MOST_DEPTH + 1)
    deepest = LEAST_DEPTH - 1 + bisect_left(depths, True, key=too_deep)
    return min(max(deepest, LEAST_DEPTH), len(linked.link.order))
