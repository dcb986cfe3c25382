"""Partial reuse: a stored answer stands for one request of a group's first round.

If a group's query was scored before and only some of its documents are new, the stored answer
stands for the first of two requests. The second holds the new documents and, as anchors, a few of
the stored ones; it alone is sent. Merging joins the two like any requests of a group.

The choice of the answer is a pure function of the plan and of what was stored before the output was
created, so a killed run that is repeated makes the same choice.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import replace

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.core.content import DIGEST_BYTES, digest, identity
from pipeline.planning.packing import Packing, choose_anchors
from pipeline.planning.plan import Base, PackedUnits, Plan
from pipeline.score_store.query_index import QueryIndex
from pipeline.score_store.rows import StoredAnswer


class PartialReuse:
    """Finds the stored answers of groups. It reads files: use it in one thread at a time.

    Args:
        answers: Earlier answers by query.
    """

    def __init__(self, answers: QueryIndex) -> None:
        self._answers = answers

    def apply(self, plans: Sequence[Plan]) -> list[Plan]:
        """Return the plans, each with a stored answer where that saves enough.

        Raises:
            OutputFailed: if the store cannot be read.
        """
        found = self._answers.find([plan.scope for plan in plans])
        return [with_base(plan, found[plan.scope]) for plan in plans]


def with_base(plan: Plan, answers: Sequence[StoredAnswer]) -> Plan:
    """Return the plan with the answer that covers most of its units, or unchanged.

    It is unchanged if all of its requests are among the answers, if less than half of the units are
    covered, or if the remaining request takes more than half of the tokens. If the two requests
    turn out not to be comparable, the whole group may have to be sent, so the remaining request
    must not cost more than what reuse can save.

    An answer whose remaining request is among the answers too goes first, so that the same group
    is not paid again in another output.

    Args:
        plan: A plan without a stored answer.
        answers: Earlier answers to its query, in a fixed order; the first that covers most counts.
    """
    paid = {answer.key for answer in answers}
    if not answers or paid.issuperset(plan.keys()):
        return plan
    units = plan.units
    keys = [digest(identity(content)) for content in units.contents(np.arange(len(units)))]
    covering = [
        (len(places.keys() & keys), answer, places)
        for answer, places in ((answer, _places(answer)) for answer in answers)
        if np.isfinite(answer.scores.scores).all()
    ]
    covering = [found for found in covering if 2 * found[0] >= len(units)]
    covering.sort(key=lambda found: -found[0])
    joined = [_join(plan, keys, answer, places) for _, answer, places in covering]
    for of_answer in joined:
        if of_answer is not None and paid.issuperset(of_answer.keys()):
            return of_answer
    return (joined[0] if joined else None) or plan


def _join(
    plan: Plan, keys: Sequence[bytes], answer: StoredAnswer, places: Mapping[bytes, int]
) -> Plan | None:
    """Return the plan with this answer; None if that saves too little."""
    is_covered = np.array([key in places for key in keys], np.bool_)
    covered = np.flatnonzero(is_covered)
    packing = _packing(plan, covered, np.flatnonzero(~is_covered))
    if packing is None:
        return None
    packed = PackedUnits(plan.units, plan.document_of_row, packing)
    scores = answer.scores.scores[[places[keys[unit]] for unit in covered.tolist()]]
    return replace(
        plan, packed=packed, single_request=None, base=_base(plan, answer, covered, scores)
    )


def _places(answer: StoredAnswer) -> dict[bytes, int]:
    """Return the place of each document in a stored answer, by digest."""
    keys = answer.document_keys
    starts = range(0, len(keys), DIGEST_BYTES)
    return {keys[start : start + DIGEST_BYTES]: place for place, start in enumerate(starts)}


def _packing(plan: Plan, covered: IntArray, new: IntArray) -> Packing | None:
    """Pack the covered and the new units as two requests; None if that saves too little."""
    whole, none = plan.packing, covered[:0]
    if not len(new):
        return replace(whole, homes=(covered,), anchors=none)
    anchors = none
    if plan.settings.merge == "auto":
        load = whole.limits.load(whole.places, whole.tokens, whole.sizes)
        anchors = covered[choose_anchors(load[:, covered], whole.limits.capacity)]
        if not len(anchors):
            return None
    packing = replace(whole, homes=(covered, new), anchors=anchors, dealt=False)
    asked = packing.requests[1]
    tokens = sum(plan.num_tokens(units) for units in whole.requests)
    if not packing.fit_one_request(asked) or 2 * plan.num_tokens(asked) > tokens:
        return None
    return packing


def _base(plan: Plan, answer: StoredAnswer, covered: IntArray, scores: FloatArray) -> Base:
    total_tokens = answer.scores.total_tokens
    if total_tokens is None:
        total_tokens = plan.num_tokens(covered)
    # Every document counts as an average one of the stored request, new documents too.
    covered_tokens = total_tokens * len(covered) // len(answer.scores.scores)
    units = np.arange(len(plan.units))
    whole_tokens = covered_tokens * plan.num_tokens(units) // plan.num_tokens(covered)
    return Base(answer.key, scores, total_tokens, plan, whole_tokens)
