"""Return a row per candidate, with the names of roles, in the order of the input or sorted."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import IntArray
from pipeline.core.groups import Id
from pipeline.source.adjacency import find_starts
from pipeline.source.arrow import nulls
from pipeline.source.decoded_rows import DecodedRows
from pipeline.source.prepare.sorting import hash_ids, sort_tables, sorted_places
from pipeline.source.source import Source

_MAX_BUCKETS: Final = 200
"""Files that are open at once; of more than 25 GB, buckets become larger instead."""


def long_schema(source: Source) -> pa.Schema:
    """Return the columns of a row per candidate, with the names of roles."""
    schema = source.candidate_schema
    if "first_stage_rank" in source.roles:
        schema = schema.append(pa.field("first_stage_rank", pa.int32()))
    for role in ("query", "text"):
        if role in source.roles:
            schema = schema.append(pa.field(role, pa.string()))
    return schema


def iter_long_tables(source: Source, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the candidates as long rows; an empty table first, for the columns.

    A query without candidates becomes a row without a doc_id.
    """
    yield schema.empty_table()
    for piece in source.iter_pieces():
        assert piece.rows is not None
        table = _long_table(piece.rows, schema)
        empty = np.flatnonzero(np.diff(piece.rows.offsets) == 0)
        yield _with_empty(table, piece.rows, empty) if len(empty) else table


def _long_table(rows: DecodedRows, schema: pa.Schema) -> pa.Table:
    values: dict[str, Any] = {"first_stage_rank": rows.ranks, "text": rows.texts}
    if "query" in schema.names:
        sizes = np.diff(rows.offsets)
        places: IntArray = np.repeat(np.arange(rows.num_rows), sizes)
        values["query"] = rows.queries if (sizes == 1).all() else rows.queries.take(places)
    table = rows.candidates
    for name in schema.names[table.num_columns :]:
        table = table.append_column(name, values[name])
    return table.cast(schema)


def _with_empty(table: pa.Table, rows: DecodedRows, empty: IntArray) -> pa.Table:
    """Return a table with a row more for each input row without candidates, at its place."""
    values = {"query_id": rows.query_ids.take(empty), "query": rows.queries.take(empty)}
    absent = pa.table(
        [
            values[field.name].cast(field.type)
            if field.name in values
            else nulls(len(empty), field.type)
            for field in table.schema
        ],
        schema=table.schema,
    )
    places = np.append(np.arange(table.num_rows), rows.offsets[empty] - 0.5)
    return pa.concat_tables([table, absent]).take(np.argsort(places, kind="stable"))


def sort_candidates(
    source: Source,
    tables: Callable[[], Iterator[pa.Table]],
    spool: Path,
    *,
    max_queries: int | None,
    max_bucket_bytes: int,
) -> Iterator[pa.Table]:
    """Yield the rows, those of each query together; only the first `max_queries` if given."""
    if source.rows_are_candidates:
        ids = (piece.query_ids for piece in source.iter_query_ids())
    else:
        ids = (table.column("query_id").combine_chunks() for table in tables())
    places = sorted_places(np.concatenate([np.empty(0, np.uint64), *map(hash_ids, ids)]))
    sizes = ((table.nbytes, table.num_rows) for table in tables() if table.num_rows)
    num_bytes, num_rows = next(sizes, (1, 1))
    rows_per_bucket = max(
        1, max_bucket_bytes * num_rows // max(num_bytes, 1), len(places) // _MAX_BUCKETS
    )
    ordered = sort_tables(tables(), places, spool / "buckets", rows_per_bucket=rows_per_bucket)
    return ordered if max_queries is None else _first_queries(ordered, max_queries)


def _first_queries(tables: Iterator[pa.Table], max_queries: int) -> Iterator[pa.Table]:
    last_id: Id | None = None
    for table in tables:
        if not table.num_rows:  # tells the columns
            yield table
            continue
        query_ids = table.column("query_id").combine_chunks()
        starts = find_starts(query_ids, last_id)
        if len(starts) > max_queries:
            yield table.slice(0, int(starts[max_queries]))
            return
        max_queries -= len(starts)
        last_id = query_ids[-1].as_py()
        yield table
