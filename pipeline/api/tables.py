"""Rerank a table in memory: a Polars or pandas frame, or an Arrow table."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.api.calls import rerank
from pipeline.core.arrays import IntArray
from pipeline.core.environment import cache_folder
from pipeline.core.errors import InputError, SettingsError
from pipeline.output.layout import GROUPS_FOLDER
from pipeline.source.column_types import ID_TYPES, plain_type
from pipeline.source.roles import MEDIA_ROLES, ROLES

Table = TypeVar("Table")

_ROW: Final = "__row"
_ADDED: Final = ("rank", "relevance_score", "merge_status")
_REFUSED: Final = ("layout", "with_text", "groups_per_part", "restart", "lock_wait", "sort_input")
"""Options about input and output files, which a table has not."""


def rerank_table(candidates: Table, **options: Any) -> Table:
    """Return the candidates in their new order, each with its rank and score.

    Queries come in the order of their first rows, and within a query candidates by rank. A row has
    all its columns and `rank` (from 1), `relevance_score` (null without a score) and `merge_status`
    (of its query; see `MergeStatus`). Rows of a query need not be adjacent.

    Args:
        candidates: A row per candidate with `query_id`, `query`, `doc_id` and `text`, or the
            columns that `columns` names: a Polars or pandas frame, or an Arrow table.
        options: Those of `RunOptions` except options about files. Paid answers are kept in
            `score_store`, by default a folder in the user's cache.

    Returns:
        A table of the same kind.

    Raises:
        RerankError: with `exit_code`, as `rerank run` ends.
    """
    for name in _REFUSED:
        if name in options:
            raise SettingsError("has no meaning for a table", which=name, cure="leave it out")
    whole = _read_once(candidates)
    names = list(getattr(whole, "column_names", None) or whole.columns)
    twice = [name for name in (*_ADDED, _ROW) if name in names]
    if twice:
        raise SettingsError(
            "the candidates have a column of this name already",
            which=twice[0],
            cure="rename it or leave it out",
        )
    columns = dict(options.get("columns", {}))
    query_id = columns.get("query_id", "query_id")
    if query_id not in names:
        raise SettingsError("the candidates have no such column", which=query_id)
    read = {columns.get(role, role) for role in (*ROLES, *MEDIA_ROLES)}
    table = _as_arrow(whole, [name for name in names if name in read])
    rows = _by_query(table[query_id], query_id)
    if isinstance(whole, pa.Table):
        _take(whole.slice(0, 1), rows[:0])  # refuse types that cannot be returned before paying
    options.setdefault("score_store", str(cache_folder() / "scores"))
    with tempfile.TemporaryDirectory(prefix="rerank-") as temporary:
        source, output = Path(temporary, "candidates.parquet"), Path(temporary, "out")
        pq.write_table(table.take(rows).append_column(_ROW, pa.array(rows)), source)
        rerank(source, output, layout="long", **options)
        ranked = _read_parts(output)
    return cast("Table", _taken(whole, ranked.pop(_ROW).to_numpy(), ranked))


def _read_once(candidates: Any) -> Any:
    """Return a frame as it is, and else an Arrow table: a stream may be read only once."""
    cause = None
    if _library(candidates) in ("polars", "pandas"):
        if hasattr(candidates, "__arrow_c_stream__") and hasattr(candidates, "columns"):
            return candidates
    elif hasattr(candidates, "__arrow_c_stream__"):
        try:
            return pa.table(candidates)
        except (TypeError, ValueError, pa.ArrowException) as error:
            cause = error
    raise SettingsError(
        "not a table",
        which="candidates",
        found=type(candidates).__name__,
        expected="a Polars or pandas frame, or an Arrow table",
    ) from cause


def _library(table: Any) -> str:
    return type(table).__module__.partition(".")[0]


def _as_arrow(whole: Any, names: list[str]) -> pa.Table:
    """Return the columns of a table that a run reads, of plain types; others may be of any type."""
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise SettingsError("more than one column of the candidates is called so", which=twice[0])
    if isinstance(whole, pa.Table):
        table = whole.select(names)
    elif _library(whole) == "polars":
        import polars as pl

        table = whole[names].to_arrow(compat_level=pl.CompatLevel.oldest())
    else:
        table = pa.table({name: _pandas_column(whole[name], name) for name in names})
    return table.cast(
        pa.schema([field.with_type(_wide_type(field.type)) for field in table.schema])
    )


def _pandas_column(values: Any, name: str) -> Any:
    """Return a column of a pandas frame as an Arrow array, or as one in chunks.

    Raises:
        InputError: if its values are not of one type that Arrow knows; quotes none of them.
    """
    try:
        return pa.array(values, from_pandas=True)
    except (TypeError, ValueError, OverflowError, pa.ArrowException):
        raise InputError(
            f"column {name!r} holds values of several types, or of one that Arrow cannot hold",
            which="candidates",
            found=f"dtype {values.dtype}",
            cure="give all of them one type, as .astype(str) does",
        ) from None


def _wide_type(kind: pa.DataType) -> pa.DataType:
    """Return the type without dictionaries, views and runs, with 64-bit offsets."""
    kind = plain_type(kind)
    if pa.types.is_string(kind):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary(kind) else kind


def _take(table: pa.Table, rows: IntArray) -> pa.Table:
    """Return rows of a table.

    Raises:
        SettingsError: if Arrow cannot take rows of a column's type.
    """
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        try:
            columns.append(column.take(rows))
        except pa.ArrowNotImplementedError:
            columns.append(_take_plain(field, column, rows))
    return pa.Table.from_arrays(columns, schema=table.schema)


def _take_plain(
    field: "pa.Field[Any]", column: "pa.ChunkedArray[Any]", rows: IntArray
) -> "pa.ChunkedArray[Any]":
    """Return rows of a column by way of its plain type: Arrow takes no rows of views."""
    try:
        return column.cast(_wide_type(field.type)).take(rows).cast(field.type)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise SettingsError(
            "rows of this type cannot be put in another order",
            which=field.name,
            found=field.type,
            cure="cast the column, or leave it out",
        ) from None


def _by_query(query_ids: "pa.ChunkedArray[Any]", name: str) -> IntArray:
    """Return row numbers that bring the rows of each query together, in order of first rows.

    Raises:
        InputError: if the ids are of a type that no id has.
    """
    try:
        coded = query_ids.combine_chunks().dictionary_encode(null_encoding="encode")
    except pa.ArrowNotImplementedError:
        raise InputError(
            f"column {name!r} has a wrong type",
            which="candidates",
            found=query_ids.type,
            expected=ID_TYPES,
            cure="cast it",
        ) from None
    codes: IntArray = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return np.argsort(codes, kind="stable")


def _read_parts(output: Path) -> "dict[str, pa.ChunkedArray[Any]]":
    """Return the columns that are added, one value per row of the output, and the row numbers."""
    parts = sorted(output.glob("part-*.parquet"))
    ranked = pa.concat_tables(
        pq.read_table(part, columns=[_ROW, "rank", "relevance_score"]) for part in parts
    )
    statuses = np.concatenate(
        [
            np.repeat(
                groups["merge_status"].to_numpy(),
                _kept(pq.read_table(output / part.name, columns=["rank"])["rank"].to_numpy()),
            )
            for part in parts
            for groups in [pq.read_table(output / GROUPS_FOLDER / part.name)]
        ]
        or [np.empty(0, dtype=object)]
    )
    columns = {name: ranked[name] for name in (_ROW, "rank", "relevance_score")}
    return {**columns, "merge_status": pa.chunked_array([pa.array(statuses, pa.string())])}


def _kept(ranks: IntArray) -> IntArray:
    """Return how many rows each query of a part has, by its ranks, which begin anew at 1."""
    starts = np.flatnonzero(ranks == 1)
    return np.diff(np.append(starts, len(ranks)))


def _taken(candidates: Any, rows: IntArray, added: "Mapping[str, pa.ChunkedArray[Any]]") -> Any:
    """Return rows of a table with further columns, as a table of its own kind."""
    kind = _library(candidates)
    if kind == "polars":
        import polars as pl

        more = [pl.Series(name, column) for name, column in added.items()]
        return candidates[rows].with_columns(more)
    if kind == "pandas":
        values = {name: column.to_pandas().array for name, column in added.items()}
        return candidates.iloc[rows].assign(**values)
    table = _take(candidates, rows)
    for name, column in added.items():
        table = table.append_column(name, column)
    return table
