"""The rankings of one part as its three tables, each built by column in one go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.records import FIRST_RANK, IntArray, Ranking

_Number = TypeVar("_Number", bound=np.generic)

_RANKED = ("rank", "relevance_score", "first_stage_rank")


@dataclass(frozen=True, slots=True, eq=False)
class PartTables:
    """What a part consists of; `rejects` may have no rows."""

    part: pa.Table
    groups: pa.Table
    rejects: pa.Table


def make_tables(
    rankings: Sequence[Ranking], output_schema: pa.Schema, *, top_n: int | None
) -> PartTables:
    """Bring the rankings of a part, in input order, to the columns of the contract.

    Of a group only `query_id`, `rows` and `first_stage_rank` are used: its texts may be gone.
    """
    carried = [field for field in output_schema if field.name not in _RANKED]
    nothing = pa.schema(carried).empty_table()
    rows = pa.concat_tables([nothing, *(r.group.rows for r in rankings)])
    ranks = _concat([r.group.first_stage_rank for r in rankings], np.int32)
    sizes = [r.group.rows.num_rows for r in rankings]
    firsts = np.cumsum([0, *sizes])[:-1]
    orders = [first + r.order for first, r in zip(firsts, rankings, strict=True)]
    assert np.array_equal(np.sort(_concat(orders, np.int64)), np.arange(rows.num_rows)), (
        "every candidate is ranked once"
    )

    chosen = _concat([order[:top_n] for order in orders], np.int64)
    scores = _concat([r.scores[:top_n] for r in rankings], np.float64)
    depths = [len(order[:top_n]) for order in orders]
    places = [np.arange(FIRST_RANK, FIRST_RANK + depth, dtype=np.int32) for depth in depths]
    taken = rows.take(chosen)
    columns = dict(zip(taken.column_names, taken.columns, strict=True)) | {
        "rank": pa.array(_concat(places, np.int32)),
        "relevance_score": pa.array(scores, mask=np.isnan(scores)),
        "first_stage_rank": pa.array(ranks[chosen]),
    }
    part = pa.table([columns[name] for name in output_schema.names], schema=output_schema)
    return PartTables(
        part.combine_chunks(),
        _groups_table(rankings, output_schema, sizes),
        _rejects_table(rankings, rows, ranks, firsts),
    )


def _groups_table(
    rankings: Sequence[Ranking], output_schema: pa.Schema, sizes: list[int]
) -> pa.Table:
    """One row per query: what was done and what it cost."""
    count = pa.int32()
    return pa.table(
        {
            "query_id": pa.array(
                [r.group.query_id for r in rankings], output_schema.field("query_id").type
            ),
            "num_candidates": pa.array(sizes, count),
            "num_requests": pa.array([r.num_requests for r in rankings], count),
            "total_tokens": pa.array([r.total_tokens for r in rankings], pa.int64()),
            "merge_status": pa.array([r.merge_status for r in rankings], pa.string()),
            "certified_depth": pa.array([r.certified_depth for r in rankings], count),
            "num_rejected": pa.array([r.num_rejected for r in rankings], count),
            "num_skipped": pa.array([r.num_skipped for r in rankings], count),
            "num_truncated": pa.array([r.num_truncated for r in rankings], count),
        }
    )


def _rejects_table(
    rankings: Sequence[Ranking],
    rows: pa.Table,
    ranks: npt.NDArray[np.int32],
    firsts: IntArray,
) -> pa.Table:
    """One row per candidate without a score, in input order."""
    rejects = [reject for r in rankings for reject in sorted(r.rejects, key=lambda x: x.row)]
    per_group = [len(r.rejects) for r in rankings]
    places = np.repeat(firsts, per_group) + np.array([x.row for x in rejects], np.int64)
    ids = rows.select(["query_id", "doc_id"]).take(places).combine_chunks()
    return pa.table(
        {
            "query_id": ids["query_id"],
            "doc_id": ids["doc_id"],
            "first_stage_rank": pa.array(ranks[places]),
            "reason": pa.array([x.reason for x in rejects], pa.string()),
            "code": pa.array([x.code for x in rejects], pa.string()),
            "message": pa.array([x.message for x in rejects], pa.string()),
        }
    )


def _concat(arrays: Sequence[npt.NDArray[_Number]], dtype: type[_Number]) -> npt.NDArray[_Number]:
    return np.concatenate([np.empty(0, dtype), *arrays])
