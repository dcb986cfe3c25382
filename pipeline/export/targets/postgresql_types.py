"""Columns in PostgreSQL: their types, and their values as CSV for COPY."""

import io

import polars as pl
import pyarrow as pa
import pyarrow.types as pt

from pipeline.core.errors import InputError
from pipeline.export.json_text import json_value

_MAX_NAME_BYTES = 63

_SIMPLE = (
    (pt.is_boolean, "boolean"),
    (lambda t: pt.is_int8(t) or pt.is_int16(t) or pt.is_uint8(t), "smallint"),
    (lambda t: pt.is_int32(t) or pt.is_uint16(t), "integer"),
    (lambda t: pt.is_int64(t) or pt.is_uint32(t), "bigint"),
    (pt.is_uint64, "numeric(20,0)"),
    (lambda t: pt.is_float16(t) or pt.is_float32(t), "real"),
    (pt.is_float64, "double precision"),
    (lambda t: pt.is_string(t) or pt.is_large_string(t) or pt.is_string_view(t), "text"),
    (lambda t: pt.is_binary(t) or pt.is_large_binary(t) or pt.is_fixed_size_binary(t), "bytea"),
    (pt.is_date, "date"),
    (pt.is_time, "time without time zone"),
    (pt.is_duration, "interval"),
    (pt.is_nested, "jsonb"),
    (pt.is_null, "text"),
)


def column_type(name: str, kind: pa.DataType) -> str:
    """Return the type of a column, in the words of `format_type`.

    Raises:
        InputError: for a type that PostgreSQL lacks, or a name that it would cut.
    """
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise InputError(
            "PostgreSQL cuts the names of columns",
            which=f"column {name[:_MAX_NAME_BYTES]}...",
            found=f"{len(name.encode())} bytes",
            expected=f"at most {_MAX_NAME_BYTES}",
        )
    if pt.is_dictionary(kind):
        return column_type(name, kind.value_type)
    if pt.is_timestamp(kind):
        return f"timestamp {'without' if kind.tz is None else 'with'} time zone"
    if pt.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})"
    for is_kind, postgresql in _SIMPLE:
        if is_kind(kind):
            return postgresql
    raise InputError("PostgreSQL has no such type", which=f"column {name}", found=kind)


def as_csv(frame: pl.DataFrame) -> bytes:
    """Return rows as CSV for COPY: null is empty without quotes, an empty string is `""`."""
    columns = [_as_text(name, kind) for name, kind in frame.schema.items()]
    stream = io.BytesIO()
    frame.select(columns).write_csv(stream, include_header=False, quote_style="non_numeric")
    return stream.getvalue()


def find_nul(frame: pl.DataFrame) -> tuple[str, str] | None:
    """Return a column that holds a NUL, which PostgreSQL refuses, and the id of its query."""
    for name, kind in frame.schema.items():
        if kind == pl.String:
            found = frame.filter(pl.col(name).str.contains("\0", literal=True))
            if found.height:
                return name, str(found["query_id"][0])
    return None


def _as_text(name: str, kind: pl.DataType) -> pl.Expr:
    value = pl.col(name)
    match kind:
        case pl.Binary():
            return pl.concat_str([pl.lit("\\x"), value.bin.encode("hex")]).alias(name)
        case pl.Datetime():
            return value.dt.to_string("iso")
        case pl.Duration():
            return pl.concat_str([value.dt.total_microseconds(), pl.lit(" microseconds")]).alias(
                name
            )
        case pl.List() | pl.Array() | pl.Struct():
            return json_value(name, kind)
    return value
