"""Explain one query of an output: its candidates before and after, and why they stand there.

The output holds ranks, scores, the certificate and the rejects. Home requests, anchors and the
service's own scores are not in it: they come from the input and the score store, if these are
unchanged. The notes say what is not known.
"""

from collections.abc import Iterator

import numpy as np
from msgspec.structs import replace

from pipeline.core.errors import InputError, RerankError
from pipeline.core.groups import Group
from pipeline.evaluation.first_stage import find_input
from pipeline.explain.candidates import candidate_keys, explain_candidates
from pipeline.explain.explanation import (
    AskedRequest,
    Comparison,
    Explanation,
    GroupFacts,
    LinkFacts,
)
from pipeline.explain.found_query import FoundQuery, find_query, not_found
from pipeline.explain.replay import (
    AnswerMissing,
    Replay,
    read_group,
    recorded_settings,
    replay,
    stored_answers,
)
from pipeline.explain.row_facts import planned_rows
from pipeline.output.backfill_record import begun_partitions
from pipeline.output.layout import MANIFEST_NAME, SCORES_FOLDER
from pipeline.output.reader import WrittenOutput, open_output
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.planning.reuse import PartialReuse
from pipeline.ranking.merging.merged import Merged
from pipeline.ranking.rows import make_ranking
from pipeline.score_store.maintenance import is_store
from pipeline.score_store.query_index import QueryIndex
from pipeline.storage.location import Location, locate


def explain_query(
    name: str, query_id: str, *, input_name: str | None = None, score_store: str | None = None
) -> list[Explanation]:
    """Explain a query of an output; in a backfill, in each partition that holds it, by name.

    Args:
        name: The OUTPUT of a run, or the OUTPUT_ROOT of a backfill.
        query_id: The id, as text.
        input_name: The input; None: where the last run found it.
        score_store: The score store; None: that of the output, or of the backfill.

    Raises:
        InputError: if there is no such output or query, or a file cannot be read.
    """
    outputs = _open(name)
    explained = []
    for partition, output in outputs:
        found = find_query(output, query_id)
        if found is not None:
            own_input = _input_of(input_name, partition)
            store = _store_of(output.location, name, score_store)
            explained.append(_explain(output, partition, found, query_id, own_input, store))
    if not explained:
        raise not_found([output for _, output in outputs], name, query_id)
    return explained


def _open(name: str) -> list[tuple[str | None, WrittenOutput]]:
    location = locate(name)
    if name and not location.child(MANIFEST_NAME).exists():
        begun = [
            (partition.folder, open_output(partition.location.name))
            for partition in begun_partitions(location)
        ]
        if begun:
            return [(folder, output) for folder, output in begun]
    return [(None, open_output(name))]


def _input_of(name: str | None, partition: str | None) -> str | None:
    return name if name is None or partition is None else f"{name.rstrip('/')}/{partition}"


def _store_of(output: Location, name: str, given: str | None) -> Location | None:
    """Return the score store that the output's answers are in; None if there is none."""
    if given is not None:
        return locate(given)
    for folder in (output.child(SCORES_FOLDER), locate(name).child(SCORES_FOLDER)):
        if folder.exists() and is_store(folder):
            return folder
    return None


def _explain(
    output: WrittenOutput,
    partition: str | None,
    found: FoundQuery,
    query_id: str,
    input_name: str | None,
    store: Location | None,
) -> Explanation:
    notes: list[str] = []
    is_partial = output.manifest.settings.get("reuse") == "partial"
    group, planned, replayed = None, None, None
    try:
        planner = Planner(recorded_settings(output.manifest.settings))
        source = find_input(output, input_name)
        group = read_group(source, found.part, query_id, planner)
        plan = planner.plan(group)
        if not is_partial:
            planned = planned_rows(plan, planner)
    except RerankError as error:
        if input_name is not None:
            raise
        notes.append(f"home requests and anchors are not known: the input cannot be used: {error}")
    else:
        try:
            if is_partial:
                plan = _with_earlier_answer(plan, output, store)
            replayed = _replay(plan, planner, found, store)
        except (RerankError, AnswerMissing) as error:
            notes.append(f"the service's own scores are not known: {error}")
            if is_partial:
                notes.append("home requests and anchors follow from them, with --reuse partial")
        else:
            planned = planned_rows(replayed.plan, planner)
    merged = None if replayed is None else replayed.merged
    if planned is not None and planned.is_truncated is not None:
        if np.count_nonzero(planned.is_truncated) != found.group["num_truncated"]:
            planned = replace(planned, is_truncated=None)
    return Explanation(
        output=output.location.name,
        partition=partition,
        query_id=found.query_id,
        query=_query_text(found, group),
        part=found.part.index,
        model=str(output.manifest.settings.get("model", "")),
        groups=GroupFacts(**found.group),
        candidates=tuple(explain_candidates(found, group, planned, replayed)),
        cut=found.group["num_candidates"] - len(found.rows),
        requests=() if replayed is None else tuple(_requests(replayed)),
        comparison=_comparison(merged),
        link=_link(merged),
        notes=tuple(notes),
    )


def _with_earlier_answer(plan: Plan, output: WrittenOutput, store: Location | None) -> Plan:
    """Return the plan with the earlier answer that a run with `--reuse partial` took, if any.

    Raises:
        OutputFailed: if the store cannot be read.
    """
    if store is None:
        return plan
    answers = QueryIndex(store, before_us=output.manifest.begun_us)
    (found,) = PartialReuse(answers).apply([plan])
    return found


def _replay(plan: Plan, planner: Planner, found: FoundQuery, store: Location | None) -> Replay:
    """Merge the stored answers anew; refuse a result that is not what the output holds.

    Raises:
        InputError: if there is no store, or if the result differs.
        AnswerMissing: if the store lacks an answer.
    """
    if store is None:
        raise InputError("no score store", cure="name it with --score-store")
    group = plan.group
    refused = {(row["doc_id"], row["first_stage_rank"]) for row in found.rejects}
    keys = candidate_keys(group)
    rows = np.array([at for at, key in enumerate(keys) if key in refused], np.int64)
    replayed = replay(plan, planner, rows, stored_answers(store))
    ranking = make_ranking(replayed.plan, replayed.merged, {}, num_requests=0, total_tokens=0)
    order = [keys[row][0] for row in ranking.order[: len(found.rows)].tolist()]
    if order != [row["doc_id"] for row in found.rows]:
        raise InputError("the stored answers lead to another ranking")
    return replayed


def _query_text(found: FoundQuery, group: Group | None) -> str | None:
    if group is not None:
        return group.query if isinstance(group.query, str) else None
    return found.rows[0].get("query") if found.rows else None


def _requests(replayed: Replay) -> Iterator[AskedRequest]:
    for number, request in enumerate(replayed.requests, start=1):
        yield AskedRequest(
            number=number,
            kind=request.kind,
            documents=len(request.units),
            tokens=request.tokens,
        )


def _comparison(merged: Merged | None) -> Comparison | None:
    if merged is None or merged.comparability is None:
        return None
    found = merged.comparability
    return Comparison(
        comparable=bool(found.comparable),
        p_lines=float(found.p_lines),
        p_noise=float(found.p_noise),
        alike=bool(found.alike),
        fingerprint=bool(found.fingerprint),
    )


def _link(merged: Merged | None) -> LinkFacts | None:
    if merged is None or merged.link is None:
        return None
    link = merged.link
    error = link.e_affine if link.model == "affine" else link.e_rank
    return LinkFacts(
        model=link.model,
        error=float(error) if np.isfinite(error) else None,
        stable=bool(link.stable),
    )
