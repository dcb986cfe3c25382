"""The candidates of an explained query: before and after, in which requests, and how sure."""

from collections.abc import Iterator
from typing import Any

from pipeline.core.groups import Group
from pipeline.explain.explanation import ExplainedCandidate, Sureness
from pipeline.explain.found_query import FoundQuery
from pipeline.explain.replay import Replay
from pipeline.explain.row_facts import NO_REQUEST, AnsweredRows, PlannedRows

_BEYOND: dict[str, Sureness] = {"trusted": "trusted", "incomplete": "open"}
"""How sure a place beyond the certified depth is, where it is not linked."""


def candidate_keys(group: Group) -> list[tuple[Any, int]]:
    """Return keys that distinguish the candidates of a group, one per row: doc_id and rank."""
    ids = group.output.candidates["doc_id"].to_pylist()
    return list(zip(ids, group.first_stage_rank.tolist(), strict=True))


def _rows_of(group: Group | None) -> dict[tuple[Any, int], int]:
    """Return the first row of the group that each candidate is."""
    if group is None:
        return {}
    rows: dict[tuple[Any, int], int] = {}
    for row, key in enumerate(candidate_keys(group)):
        rows.setdefault(key, row)
    return rows


def explain_candidates(
    found: FoundQuery,
    group: Group | None,
    planned: PlannedRows | None,
    replayed: Replay | None,
) -> Iterator[ExplainedCandidate]:
    """Yield the candidates in the order of the output, then those that are only rejected.

    Args:
        found: The query in the output.
        group: The same query in the input; None if it cannot be read.
        planned: Facts about each row of the group from the plan; None if they are not known.
        replayed: Facts about each row from the answers; None if they are not known.
    """
    rows = _rows_of(group)
    rejects = {(one["doc_id"], one["first_stage_rank"]): one for one in found.rejects}
    answered = None if replayed is None else AnsweredRows(replayed)
    shown = [(row["doc_id"], row["first_stage_rank"], row) for row in found.rows]
    present = {(doc_id, rank) for doc_id, rank, _ in shown}
    shown += [(*key, {}) for key in rejects if key not in present]
    for doc_id, first_stage_rank, written in shown:
        key = (doc_id, first_stage_rank)
        row, reject = rows.get(key), rejects.get(key, {})
        facts: dict[str, Any] = {}
        if planned is not None and row is not None:
            home = int(planned.home[row])
            facts["home_request"] = None if home == NO_REQUEST else home
            facts["is_anchor"] = bool(planned.is_anchor[row])
            if planned.is_truncated is not None:
                facts["is_truncated"] = bool(planned.is_truncated[row])
        if answered is not None and row is not None:
            facts["scores"] = answered.scores(row)
            facts["is_witness"] = answered.is_witness(row)
        score = written.get("relevance_score")
        yield ExplainedCandidate(
            doc_id=doc_id,
            rank=written.get("rank"),
            first_stage_rank=first_stage_rank,
            relevance_score=score,
            sure=_sure(found.group, written.get("rank"), score),
            reason=reject.get("reason"),
            code=reject.get("code") or None,
            message=reject.get("message") or None,
            **facts,
        )


def _sure(group: dict[str, Any], rank: int | None, score: float | None) -> Sureness:
    if score is None or rank is None:
        return "none"
    if rank <= group["certified_depth"]:
        return "proved"
    return _BEYOND.get(group["merge_status"], "linked")
