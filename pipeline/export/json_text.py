"""Tables as JSON, a line per row, by columns and not row by row.

Strings, numbers, booleans, lists and structs are JSON's own; a number that is not finite is null.
Dates and times are ISO 8601, decimals are strings (no digit is lost), binary is Base64.
"""

from collections.abc import Iterable
from typing import cast

import polars as pl
import pyarrow as pa


def to_frame(table: pa.Table) -> pl.DataFrame:
    """Return an Arrow table as a Polars frame."""
    return cast(pl.DataFrame, pl.from_arrow(table))


def json_objects(schema: pl.Schema, names: Iterable[str]) -> pl.Expr:
    """Return the expression that encodes columns of each row as one JSON object."""
    fields = [_as_json(pl.col(name), schema[name]).alias(name) for name in names]
    return pl.struct(fields).struct.json_encode()


def json_value(name: str, kind: pl.DataType) -> pl.Expr:
    """Return the expression that encodes one column as JSON; null stays null."""
    wrapped = pl.struct(_as_json(pl.col(name), kind).alias("v")).struct.json_encode()
    text = wrapped.str.slice(len('{"v":')).str.head(-1)  # without the closing brace
    return pl.when(pl.col(name).is_null()).then(None).otherwise(text).alias(name)


def text_bytes(texts: pl.Series) -> memoryview:
    """Return strings, one after the other, as UTF-8, without a copy of each."""
    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    if not len(array):
        return memoryview(b"")
    assert array.null_count == 0
    assert array.type == pa.large_string()
    _, offsets, data = array.buffers()
    assert offsets is not None
    if data is None:
        return memoryview(b"")
    borders = memoryview(offsets).cast("q")
    start, stop = borders[array.offset], borders[array.offset + len(array)]
    return memoryview(data)[start:stop]


def _as_json(value: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Return the expression that brings a value into a form that JSON has."""
    match kind:
        case pl.Binary():
            return value.bin.encode("base64")
        case pl.Datetime():
            return value.dt.to_string("iso:strict")
        case pl.List(inner=inner) if _needs_cast(inner):
            return value.list.eval(_as_json(pl.element(), cast(pl.DataType, inner)))
        case pl.Array(inner=inner) if _needs_cast(inner):
            listed = value.arr.to_list()
            return listed.list.eval(_as_json(pl.element(), cast(pl.DataType, inner)))
        case pl.Struct() if _needs_cast(kind):
            fields = [
                _as_json(value.struct.field(field.name), cast(pl.DataType, field.dtype)).alias(
                    field.name
                )
                for field in kind.fields
            ]
            return pl.when(value.is_null()).then(None).otherwise(pl.struct(fields))
    return value


def _needs_cast(kind: object) -> bool:
    match kind:
        case pl.Binary() | pl.Datetime():
            return True
        case pl.List(inner=inner) | pl.Array(inner=inner):
            return _needs_cast(inner)
        case pl.Struct(fields=fields):
            return any(_needs_cast(field.dtype) for field in fields)
    return False
