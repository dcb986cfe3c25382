"""Rows of whole queries as one document a query: its id, its text where known, its results."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import IntArray
from pipeline.source.arrow import one_chunk

RESULTS: Final = "results"
_OUTER: Final = ("query_id", "query")


def document_schema(columns: pa.Schema, key: str | None) -> pa.Schema:
    """Return the columns of documents: key, query_id, query where known, results.

    Args:
        columns: Those of the rows.
        key: The partition key, if there is one.
    """
    outer = outer_names(columns.names, key)
    inner = [field for field in columns if field.name not in outer]
    results = pa.field(RESULTS, pa.list_(pa.struct(inner)))
    return pa.schema([*(columns.field(name) for name in outer), results])


def outer_names(names: Sequence[str], key: str | None) -> list[str]:
    """Return the columns that belong to the query, not to its candidates."""
    return [name for name in (*([key] if key else []), *_OUTER) if name in names]


def make_documents(rows: pa.Table, key: str | None) -> pa.Table:
    """Return a row per query, with its candidates in order as a list of structs.

    Args:
        rows: Of whole queries of one partition, the rows of a query adjacent.
        key: The partition key, if there is one.
    """
    schema = document_schema(rows.schema, key)
    outer = outer_names(rows.column_names, key)
    rows = rows.combine_chunks()
    starts = query_starts(rows)
    offsets: Any = pa.array(np.append(starts, rows.num_rows).astype(np.int32))
    inner = [name for name in rows.column_names if name not in outer]
    structs = pa.StructArray.from_arrays(
        [one_chunk(rows[name]) for name in inner], fields=[rows.schema.field(n) for n in inner]
    )
    firsts = rows.select(outer).take(starts)
    results = pa.ListArray.from_arrays(offsets, structs)
    return pa.table([*firsts.columns, results], schema=schema)


def query_starts(rows: pa.Table) -> IntArray:
    """Return the row where each query begins."""
    if not rows.num_rows:
        return np.empty(0, np.int64)
    # Codes of a dictionary compare faster than strings, with the same result.
    codes = one_chunk(rows["query_id"]).dictionary_encode().indices.to_numpy()
    return np.concatenate(([0], np.flatnonzero(codes[1:] != codes[:-1]) + 1))
