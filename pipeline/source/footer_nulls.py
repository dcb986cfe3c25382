"""Nulls that the footers of an input tell of, so that they are known before anything is paid."""

from collections.abc import Iterable, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

NEVER_NULL: Final = ("query_id", "doc_id", "first_stage_rank")
"""The roles whose columns hold no null."""


class RowGroup(Struct, frozen=True):
    """A row group: its index in the file, and its first row there."""

    index: int
    first_row: int


def never_null_columns(columns: Mapping[str, str]) -> list[str]:
    """Return the columns that hold no null; `columns` names those that are not called as roles."""
    return [columns.get(role, role) for role in NEVER_NULL]


def find_nulls(
    metadata: pq.FileMetaData, schema: pa.Schema, names: Iterable[str]
) -> dict[str, RowGroup]:
    """Return the first row group of each column that holds a null, by the file's statistics.

    Columns without statistics and columns in lists are left out, and so are names that two columns
    bear.
    """
    leaves = [metadata.schema.column(at).path for at in range(metadata.num_columns)]
    flat = {field.name for field in schema if not pa.types.is_nested(field.type)}
    found: dict[str, RowGroup] = {}
    for name in names:
        if name in flat and leaves.count(name) == 1:
            group = _first_with_nulls(metadata, leaves.index(name))
            if group is not None:
                found[name] = group
    return found


def _first_with_nulls(metadata: pq.FileMetaData, leaf: int) -> RowGroup | None:
    first_row = 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        statistics = group.column(leaf).statistics
        if statistics is not None and statistics.null_count:
            return RowGroup(index, first_row)
        first_row += group.num_rows
    return None
