"""Rankings of one part as tables: their candidates, groups and rejects."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.arrays import IntArray, RankArray
from pipeline.core.groups import FIRST_RANK, GroupOutput
from pipeline.core.records import Ranking

_Number = TypeVar("_Number", bound=np.generic)

_RANKED = ("rank", "relevance_score", "first_stage_rank")
_IDS = ("query_id", "doc_id")


def candidates_table(
    rankings: Sequence[Ranking], output_schema: pa.Schema, *, top_n: int | None
) -> pa.Table:
    """Return the candidates group by group, best first: of each group the first `top_n`."""
    passthrough = pa.schema([field for field in output_schema if field.name not in _RANKED])
    rows, ranks = _joined_rows([ranking.group for ranking in rankings], passthrough)
    sizes = np.array([ranking.group.num_candidates for ranking in rankings], np.int64)
    firsts = np.cumsum(sizes) - sizes
    orders = _concat([ranking.order for ranking in rankings], np.int64)
    orders += np.repeat(firsts, [len(ranking.order) for ranking in rankings])
    seen = np.zeros(rows.num_rows, np.bool_)
    seen[orders] = True
    assert len(orders) == len(seen) and seen.all(), "every candidate is ranked once"  # noqa: PT018

    places = np.arange(len(orders)) - np.repeat(firsts, sizes)
    scores = _concat([ranking.scores for ranking in rankings], np.float64)
    if top_n is not None:
        kept = places < top_n
        orders, places, scores = orders[kept], places[kept], scores[kept]
    taken = rows.take(orders)
    columns = dict(zip(taken.column_names, taken.columns, strict=True)) | {
        "rank": pa.array((places + FIRST_RANK).astype(np.int32)),
        "relevance_score": pa.array(scores, mask=np.isnan(scores)),
        "first_stage_rank": pa.array(ranks[orders]),
    }
    ranked = pa.table([columns[name] for name in output_schema.names], schema=output_schema)
    return ranked.combine_chunks()


def _joined_rows(groups: Sequence[GroupOutput], schema: pa.Schema) -> tuple[pa.Table, RankArray]:
    """Return rows and ranks of groups, one after the other.

    Groups that are neighbours in a table are taken in one slice.
    """
    spans: list[list[int]] = []
    tables, ranks = [schema.empty_table()], [np.empty(0, np.int32)]
    before: GroupOutput | None = None
    for group in groups:
        if before is not None and group.table is before.table and group.start == before.stop:
            spans[-1][1] = group.stop
        else:
            spans.append([group.start, group.stop])
            tables.append(group.table)
            ranks.append(group.ranks)
        before = group
    for place, (start, stop) in enumerate(spans, start=1):
        tables[place] = tables[place].slice(start, stop - start)
        ranks[place] = ranks[place][start:stop]
    return pa.concat_tables(tables), np.concatenate(ranks)


def groups_table(rankings: Sequence[Ranking], output_schema: pa.Schema) -> pa.Table:
    """Return one row per query, in input order: what was done and what it cost."""
    count = pa.int32()
    return pa.table(
        {
            "query_id": pa.array(
                [r.group.query_id for r in rankings], output_schema.field("query_id").type
            ),
            "num_candidates": pa.array([r.group.num_candidates for r in rankings], count),
            "num_requests": pa.array([r.num_requests for r in rankings], count),
            "total_tokens": pa.array([r.total_tokens for r in rankings], pa.int64()),
            "merge_status": pa.array([r.merge_status for r in rankings], pa.string()),
            "certified_depth": pa.array([r.certified_depth for r in rankings], count),
            "num_rejected": pa.array([r.num_rejected for r in rankings], count),
            "num_skipped": pa.array([r.num_skipped for r in rankings], count),
            "num_truncated": pa.array([r.num_truncated for r in rankings], count),
        }
    )


def rejects_table(rankings: Sequence[Ranking], output_schema: pa.Schema) -> pa.Table:
    """Return one row per candidate without a score, in input order."""
    some = [(r.group, sorted(r.rejects, key=lambda x: x.row)) for r in rankings if r.rejects]
    rejects = [reject for _, of_group in some for reject in of_group]
    places: list[IntArray] = [np.array([x.row for x in of_group]) for _, of_group in some]
    nothing = pa.schema([output_schema.field(name) for name in _IDS]).empty_table()
    ids = pa.concat_tables(
        [
            nothing,
            *(
                group.candidates.select(_IDS).take(rows)
                for (group, _), rows in zip(some, places, strict=True)
            ),
        ]
    ).combine_chunks()
    ranks = [group.first_stage_rank[rows] for (group, _), rows in zip(some, places, strict=True)]
    return pa.table(
        {
            "query_id": ids["query_id"],
            "doc_id": ids["doc_id"],
            "first_stage_rank": pa.array(_concat(ranks, np.int32)),
            "reason": pa.array([x.reason for x in rejects], pa.string()),
            "code": pa.array([x.code for x in rejects], pa.string()),
            "message": pa.array([x.message for x in rejects], pa.string()),
        }
    )


def _concat(arrays: Sequence[npt.NDArray[_Number]], dtype: type[_Number]) -> npt.NDArray[_Number]:
    return np.concatenate([np.empty(0, dtype), *arrays])
