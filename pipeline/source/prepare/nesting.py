"""Turn long rows into a row per query again: nested candidates stay nested, with empty lists.

Among the long rows, a query without candidates is one row whose `doc_id` is null.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import IntArray
from pipeline.source.arrow import one_chunk
from pipeline.source.layouts.documents import DOCUMENTS
from pipeline.source.layouts.layout import QUERY_MEDIA

LIST_PATH: Final = f"{DOCUMENTS}.list.element"
"""Path of the candidates' fields in Parquet."""
_OF_ROWS: Final = ("query_id", "query", *QUERY_MEDIA)
"""The columns with one value per query, where they exist."""


def nested_schema(schema: pa.Schema) -> pa.Schema:
    """Return the columns of a row per query, for those of a row per candidate."""
    held = pa.struct([field for field in schema if field.name not in _OF_ROWS])
    rows = [schema.field(name) for name in _of_rows(schema)]
    return pa.schema([*rows, pa.field(DOCUMENTS, pa.list_(held))])


def _of_rows(schema: pa.Schema) -> list[str]:
    return [name for name in _OF_ROWS if name in schema.names]


def nest(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield a row per query, where neighbouring rows have one query_id and one query.

    Args:
        tables: Long rows of one schema, with `query_id`, `query` and `doc_id`.
    """
    rest: pa.Table | None = None
    for table in tables:
        table = (table if rest is None else pa.concat_tables([rest, table])).combine_chunks()
        starts = _starts(table)
        if len(starts) > 1:
            yield _nest(table.slice(0, int(starts[-1])), starts[:-1])
        rest = table.slice(int(starts[-1])) if len(starts) else None
    if rest is not None:
        yield _nest(rest, np.zeros(1, np.int64))


def _starts(table: pa.Table) -> IntArray:
    """Return the rows where another query begins."""
    differs = np.zeros(table.num_rows, np.bool_)
    differs[:1] = True
    for name in _of_rows(table.schema):
        column = one_chunk(table.column(name))
        before, after = column.slice(0, max(len(column) - 1, 0)), column.slice(1)
        same = pc.fill_null(pc.equal(after, before), False)
        both_null = pc.and_(after.is_null(), before.is_null())
        differs[1:] |= ~np.asarray(pc.or_(same, both_null))
    return np.flatnonzero(differs)


def _nest(table: pa.Table, starts: IntArray) -> pa.Table:
    has_id = np.asarray(one_chunk(table.column("doc_id")).is_valid())
    offsets = np.append(0, np.cumsum(np.add.reduceat(has_id, starts, dtype=np.int64)))
    schema = nested_schema(table.schema)
    held = table.filter(pa.array(has_id)).combine_chunks()
    fields = list(schema.field(DOCUMENTS).type.value_type)
    columns = [one_chunk(held.column(field.name)) for field in fields]
    documents = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.StructArray.from_arrays(columns, fields=fields)
    )
    rows = table.select(_of_rows(table.schema)).take(starts)
    return pa.table([*rows.columns, documents], schema=schema)
