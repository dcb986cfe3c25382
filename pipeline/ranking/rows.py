"""Rankings of a group's rows, by the scores of its units."""

from collections.abc import Iterator, Mapping

import numpy as np

from pipeline.core.arrays import BoolArray, FloatArray, IntArray
from pipeline.core.groups import Group
from pipeline.core.records import Ranking, Reject, Scores, rows_by_score
from pipeline.planning.plan import Plan, SingleRequest
from pipeline.planning.units import NOT_SENT
from pipeline.ranking.bisection import Failure
from pipeline.ranking.merging.merged import Merged


def rank_single_request(group: Group, single: SingleRequest, answer: Scores) -> Ranking:
    """Return the ranking by the answer to the only request; its order is computed later.

    Args:
        group: What is ranked.
        single: Its request.
        answer: The scores, with their tokens.
    """
    assert answer.total_tokens is not None
    scores = np.empty(len(single.rows))
    scores[single.rows] = answer.scores
    return Ranking(
        group=group.output,
        row_scores=scores,
        merge_status="single_request",
        tie_break=None if single.ranks_ascend else group.measures.content_hashes,
        certified_depth=len(scores),
        num_requests=1,
        total_tokens=answer.total_tokens,
    )


def make_ranking(
    plan: Plan,
    merged: Merged,
    failures: Mapping[int, Failure],
    *,
    num_requests: int,
    total_tokens: int,
) -> Ranking:
    """Return the ranking of all rows of a group.

    Args:
        plan: What was sent.
        merged: The units in their final order.
        failures: Why units have no score, by unit.
        num_requests: Requests that the ranking is made of.
        total_tokens: Their tokens.
    """
    group, document_of_row = plan.group, plan.document_of_row
    place, score_of_document = _best_units(plan.units.documents, merged)
    score = np.full(group.num_candidates, np.nan)
    sent = np.flatnonzero(document_of_row != NOT_SENT)
    score[sent] = score_of_document[document_of_row[sent]]
    # The merged order is that of its scores, so the order of the rows follows from the scores.
    order = rows_by_score(score, group.first_stage_rank, document_of_row)
    ranked = order[: len(score) - np.count_nonzero(np.isnan(score))]
    documents = document_of_row[ranked]
    proved = place[documents] < merged.certified_depth
    if merged.open_tie:
        proved &= ~_may_stand_lower(documents, score[ranked], merged.certified_depth, place)
    rejects = plan.rejects
    if failures:
        unscored = sent[np.isnan(score[sent])]
        rejects = sorted((*rejects, *_rejects(plan, unscored, failures)), key=_row)
    ranking = Ranking(
        group=group.output,
        row_scores=score,
        merge_status=merged.status,
        tie_break=document_of_row,
        certified_depth=len(ranked) if proved.all() else int(proved.argmin()),
        num_requests=num_requests,
        total_tokens=total_tokens,
        num_truncated=plan.num_truncated,
        rejects=tuple(rejects),
    )
    ranking.keep_order(order)
    return ranking


def _may_stand_lower(
    documents: IntArray, scores: FloatArray, certified_depth: int, place: IntArray
) -> BoolArray:
    """Return which rows a document outside the certified depth may precede by its first-stage rank.

    The last certified documents may be tied with one outside. It follows their first rows in
    first-stage order, but perhaps not further rows of the same texts.

    Args:
        documents: The document of each row, in final order.
        scores: The score of each row.
        certified_depth: How many places are certified, counted in units.
        place: The place of each document.
    """
    is_repeat = np.ones(len(documents), dtype=np.bool_)
    is_repeat[np.unique(documents, return_index=True)[1]] = False
    last = np.flatnonzero(place[documents] == certified_depth - 1)
    return is_repeat & np.isin(scores, scores[last])


def _best_units(documents: IntArray, merged: Merged) -> tuple[IntArray, FloatArray]:
    """Return place and score of the best unit of each document (MaxP).

    If a passage has no score, the best one is unknown, so the document has no score either.
    """
    place, score = np.empty(len(documents), dtype=np.int64), np.empty(len(documents))
    place[merged.order] = np.arange(len(documents))
    score[merged.order] = merged.scores
    if not len(documents) or documents[-1] == len(documents) - 1:
        return place, score  # each document is one unit
    first = np.flatnonzero(np.diff(documents, prepend=NOT_SENT))
    return np.minimum.reduceat(place, first), np.maximum.reduceat(score, first)


def _rejects(plan: Plan, rows: IntArray, failures: Mapping[int, Failure]) -> Iterator[Reject]:
    """Return why these rows have no score; of several passages the first that failed counts."""
    of_document: dict[int, Failure] = {}
    for unit in sorted(failures):
        of_document.setdefault(int(plan.units.documents[unit]), failures[unit])
    for row in rows.tolist():
        failure = of_document[int(plan.document_of_row[row])]
        yield Reject(row, failure.reason, failure.code, failure.message)


def _row(reject: Reject) -> int:
    return reject.row
