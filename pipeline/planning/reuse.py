"""Partial reuse: a group's first round begins with an answer that was paid for before.

When a group's query was scored before and only some of its documents are new, the stored answer
stands for one of two requests; the other holds the new documents and a few of the old ones, the
anchors, and is all that is asked. Merging joins the two like any requests of a group.

Which answer is taken is a pure function of the plan and of what was stored when the output was
begun, so a killed run that is repeated takes it again.
"""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec.structs import replace

from pipeline.core.arrays import IntArray
from pipeline.planning.packing import Packing, choose_anchors
from pipeline.planning.plan import Base, PackedUnits, Plan
from pipeline.score_store.query_index import QueryAnswers
from pipeline.score_store.rows import Answer


class PartialReuse:
    """Finds what groups can begin with; used from one thread at a time, since it reads files.

    Args:
        answers: Earlier answers by query.
        query_key: The key of a query there.
    """

    def __init__(self, answers: QueryAnswers, query_key: Callable[[str], int]) -> None:
        self._answers = answers
        self._query_key = query_key

    def apply(self, plans: Sequence[Plan]) -> list[Plan]:
        """The plans, each with a base where that is worthwhile.

        Raises:
            OutputFailed: if the store cannot be read.
        """
        keys = [self._query_key(plan.query) for plan in plans]
        found = self._answers.find(keys)
        return [with_base(plan, found.get(key, ())) for plan, key in zip(plans, keys, strict=True)]


def with_base(plan: Plan, answers: Sequence[Answer]) -> Plan:
    """The plan, begun with the answer that covers most of its units; else as it is.

    It stays as it is where all of its requests are among the answers; and where less than half of
    the units are covered or the one request takes more than half of the tokens: should the
    requests turn out not to compare, the whole group may be asked after all, so the stake must
    not exceed what can be won.

    Args:
        plan: A plan without a base.
        answers: Earlier answers to its query.
    """
    if not answers or {answer.key for answer in answers}.issuperset(plan.keys()):
        return plan
    units = plan.units
    covered_by = [
        (-int(np.isin(units.keys, answer.document_keys).sum()), answer.key, answer)
        for answer in answers
        if np.isfinite(answer.scores.scores).all()
    ]
    if not covered_by:
        return plan
    num_covered, _, best = min(covered_by, key=lambda found: found[:2])
    if 2 * -num_covered < len(units):
        return plan
    is_covered = np.isin(units.keys, best.document_keys)
    packing = _packing(plan, np.flatnonzero(is_covered), np.flatnonzero(~is_covered))
    if packing is None:
        return plan
    packed = PackedUnits(units, plan.document_of_row, packing)
    return replace(plan, packed=packed, single_request=None, base=_base(plan, best))


def _packing(plan: Plan, covered: IntArray, new: IntArray) -> Packing | None:
    """The covered units and the new ones as two requests with anchors; None if not worthwhile."""
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


def _base(plan: Plan, answer: Answer) -> Base:
    order = np.argsort(answer.document_keys, kind="stable")
    in_order = answer.document_keys[order]
    covered = np.flatnonzero(np.isin(plan.units.keys, in_order))
    places = order[np.searchsorted(in_order, plan.units.keys[covered])]
    total_tokens = answer.scores.total_tokens
    if total_tokens is None:
        total_tokens = plan.num_tokens(covered)
    # A document's share of the stored request is the average; what is new is like what is not.
    covered_tokens = total_tokens * len(covered) // len(order)
    units = np.arange(len(plan.units))
    whole_tokens = covered_tokens * plan.num_tokens(units) // max(plan.num_tokens(covered), 1)
    scores = answer.scores.scores[places]
    return Base(answer.key, scores, total_tokens, plan, whole_tokens)
