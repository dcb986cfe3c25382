"""Write tables as one Parquet file whose bytes depend on the rows alone, not on how they came."""

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.arrays import IntArray
from pipeline.source.prepare.nesting import LIST_PATH, nest, nested_schema
from pipeline.source.prepare.spool import Rows

_STEP_ROWS: Final = 4_096
_GROUP_ROWS: Final = 65_536
_GROUP_BYTES: Final = 32 << 20
"""A row group ends with the step that reaches one of these two."""


def write_parquet(
    tables: Iterable[pa.Table], schema: pa.Schema, stream: BinaryIO, *, nested: bool = False
) -> None:
    """Write the rows of all tables.

    Args:
        tables: A row per candidate.
        schema: Their columns.
        stream: Where to write.
        nested: Write a row per query instead; see `nesting`.
    """
    texts = [name for name in schema.names if name in ("query", "text")]
    groups = (group.cast(schema).combine_chunks() for group in _row_groups(tables, texts))
    written = nested_schema(schema) if nested else schema
    leaves = [name for name in schema.names if name != "text"]
    if nested:
        leaves = ["query_id", "query", *(f"{LIST_PATH}.{name}" for name in leaves)]
    dictionaries: Any = leaves
    with pq.ParquetWriter(stream, written, use_dictionary=dictionaries) as writer:
        for group in nest(groups) if nested else groups:
            writer.write_table(group)


def _row_groups(tables: Iterable[pa.Table], texts: list[str]) -> Iterator[pa.Table]:
    rows, steps, num_bytes = Rows(tables), list[pa.Table](), 0
    while (step := rows.take(_STEP_ROWS)) is not None:
        steps.append(step)
        num_bytes += sum(int(_lengths(step, name).sum()) for name in texts)
        if num_bytes >= _GROUP_BYTES or len(steps) * _STEP_ROWS >= _GROUP_ROWS:
            yield pa.concat_tables(steps)
            steps, num_bytes = [], 0
    if steps:
        yield pa.concat_tables(steps)


def _lengths(table: pa.Table, name: str) -> IntArray:
    return np.asarray(pc.binary_length(table.column(name)).fill_null(0), np.int64)
