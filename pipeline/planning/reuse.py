"""Partial reuse: a stored answer stands for one request of a group's first round.

If a group's query was scored before and only some of its documents are new, the stored answer
stands for the first of two requests. The second holds the new documents and, as anchors, a few of
the stored ones; it alone is sent. Merging joins the two like any requests of a group.

The choice of the answer is a pure function of the plan and of what was stored before the output was
created, so a killed run that is repeated makes the same choice.
"""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec.structs import replace

from pipeline.core.arrays import IntArray
from pipeline.core.content import Content
from pipeline.planning.packing import Packing, choose_anchors
from pipeline.planning.plan import Base, PackedUnits, Plan
from pipeline.score_store.query_index import QueryIndex
from pipeline.score_store.rows import StoredAnswer


class PartialReuse:
    """Finds the stored answers of groups. It reads files: use it in one thread at a time.

    Args:
        answers: Earlier answers by query.
        query_key: Returns the key of a query there.
    """

    def __init__(self, answers: QueryIndex, query_key: Callable[[Content], int]) -> None:
        self._answers = answers
        self._query_key = query_key

    def apply(self, plans: Sequence[Plan]) -> list[Plan]:
        """Return the plans, each with a stored answer where that saves enough.

        Raises:
            OutputFailed: if the store cannot be read.
        """
        keys = [self._query_key(plan.query) for plan in plans]
        found = self._answers.find(keys)
        return [with_base(plan, found.get(key, ())) for plan, key in zip(plans, keys, strict=True)]


def with_base(plan: Plan, answers: Sequence[StoredAnswer]) -> Plan:
    """Return the plan with the answer that covers most of its units, or unchanged.

    It is unchanged if all of its requests are among the answers, if less than half of the units are
    covered, or if the remaining request takes more than half of the tokens. If the two requests
    turn out not to be comparable, the whole group may have to be sent, so the remaining request
    must not cost more than what reuse can save.

    Args:
        plan: A plan without a stored answer.
        answers: Earlier answers to its query.
    """
    if not answers or {answer.key for answer in answers}.issuperset(plan.keys()):
        return plan
    units = plan.units
    covered_by = [
        (-int(np.isin(units.content_hashes, answer.document_keys).sum()), answer.key, answer)
        for answer in answers
        if np.isfinite(answer.scores.scores).all()
    ]
    if not covered_by:
        return plan
    num_covered, _, best = min(covered_by, key=lambda found: found[:2])
    if 2 * -num_covered < len(units):
        return plan
    is_covered = np.isin(units.content_hashes, best.document_keys)
    packing = _packing(plan, np.flatnonzero(is_covered), np.flatnonzero(~is_covered))
    if packing is None:
        return plan
    packed = PackedUnits(units, plan.document_of_row, packing)
    return replace(plan, packed=packed, single_request=None, base=_base(plan, best))


def _packing(plan: Plan, covered: IntArray, new: IntArray) -> Packing | None:
    """Pack the covered and the new units as two requests; None if that saves too little."""
    whole, none = plan.packing, covered[:0]
    if not len(new):
        return replace(whole, homes=(covered,), anchors=none)
    anchors = none
    if plan.settings.merge == "auto":
        load = whole.limits.load(whole.tokens, whole.sizes)
        anchors = covered[choose_anchors(load[:, covered], whole.limits.capacity)]
        if not len(anchors):
            return None
    packing = replace(whole, homes=(covered, new), anchors=anchors)
    asked = packing.requests()[1]
    tokens = sum(plan.num_tokens(units) for units in whole.requests())
    if not packing.fit_one_request(asked) or 2 * plan.num_tokens(asked) > tokens:
        return None
    return packing


def _base(plan: Plan, answer: StoredAnswer) -> Base:
    order = np.argsort(answer.document_keys, kind="stable")
    in_order = answer.document_keys[order]
    covered = np.flatnonzero(np.isin(plan.units.content_hashes, in_order))
    places = order[np.searchsorted(in_order, plan.units.content_hashes[covered])]
    total_tokens = answer.scores.total_tokens
    if total_tokens is None:
        total_tokens = plan.num_tokens(covered)
    # Every document counts as an average one of the stored request, new documents too.
    covered_tokens = total_tokens * len(covered) // len(order)
    units = np.arange(len(plan.units))
    whole_tokens = covered_tokens * plan.num_tokens(units) // max(plan.num_tokens(covered), 1)
    scores = answer.scores.scores[places]
    return Base(answer.key, scores, total_tokens, plan, whole_tokens)
