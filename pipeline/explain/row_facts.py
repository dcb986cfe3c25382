"""Facts about each row of a group, from its plan and its answers."""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import BoolArray, IntArray
from pipeline.explain.explanation import RequestScore
from pipeline.explain.replay import Replay, ReplayedRequest
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.planning.units import NOT_SENT

NO_REQUEST = 0
"""The home request of a row that was not sent."""


class PlannedRows(Struct, frozen=True, eq=False):
    """Facts from the plan, one element per row of the group.

    Attributes:
        home: The home request, from 1; `NO_REQUEST` for a row that was not sent. For a document of
            several passages, the home request of the first.
        is_anchor: Whether it stands in every request of the first round.
        is_truncated: Whether only the beginning of its text is read; None if that is not sure.
    """

    home: IntArray
    is_anchor: BoolArray
    is_truncated: BoolArray | None


def planned_rows(plan: Plan, planner: Planner) -> PlannedRows:
    """Return the facts about each row, from its plan."""
    units = plan.units
    home = np.zeros(len(units), np.int64)
    for number, of_home in enumerate(plan.packing.homes, start=1):
        home[of_home] = number
    is_anchor = np.zeros(len(units), np.bool_)
    is_anchor[plan.packing.anchors] = True
    is_cut = np.zeros(len(units), np.bool_)
    if plan.settings.long_documents == "truncate":
        is_cut |= units.tokens > planner.longest_whole_text
        is_cut[sorted(units.own_contents.keys() - units.media.keys())] = True
    documents = plan.document_of_row
    first = np.searchsorted(units.documents, documents)
    is_sent = documents != NOT_SENT
    at = np.where(is_sent, first, 0)
    if not len(units):
        nothing = np.zeros(len(documents), np.bool_)
        return PlannedRows(np.zeros(len(documents), np.int64), nothing, nothing)
    return PlannedRows(
        np.where(is_sent, home[at], NO_REQUEST), is_sent & is_anchor[at], is_sent & is_cut[at]
    )


class AnsweredRows:
    """Facts about each row from the answers.

    Args:
        replay: The merged answers.
    """

    def __init__(self, replay: Replay) -> None:
        self._documents = replay.plan.document_of_row
        self._scores = [_best_scores(replay.plan, request) for request in replay.requests]
        witnesses = [replay.plan.units.documents[one.witnesses] for one in replay.requests]
        self._witnesses = set(np.concatenate(witnesses).tolist()) if witnesses else set()

    def scores(self, row: int) -> tuple[RequestScore, ...]:
        """Return the scores of a row, by request."""
        document = int(self._documents[row])
        return tuple(
            RequestScore(number, None if np.isnan(found[document]) else found[document])
            for number, found in enumerate(self._scores, start=1)
            if document in found
        )

    def is_witness(self, row: int) -> bool:
        """Return whether a row stood in a final request to bound what was left out."""
        return int(self._documents[row]) in self._witnesses


def _best_scores(plan: Plan, request: ReplayedRequest) -> Mapping[int, float]:
    """Return the score of each document in a request: that of its best passage, NaN without one."""
    best: dict[int, float] = {}
    documents = plan.units.documents[request.units].tolist()
    for document, score in zip(documents, request.scores.tolist(), strict=True):
        best[document] = max(best.get(document, score), score)
    return best
