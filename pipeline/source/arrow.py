"""Names and calls for Arrow's dynamic types, for which the stubs ask for type parameters."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import pyarrow as pa

Array: TypeAlias = "pa.Array[Any]"
Field: TypeAlias = "pa.Field[Any]"
Scalar: TypeAlias = "pa.Scalar[Any]"


def one_chunk(column: "pa.ChunkedArray[Any]") -> Any:
    """Return a column as one array; copied only if it has several chunks."""
    return column.chunk(0) if column.num_chunks == 1 else concat(column.chunks)


def concat(arrays: Sequence[Array]) -> Any:
    """Return arrays of one type, one after the other, as one array."""
    return pa.concat_arrays(arrays)


def nulls(length: int, kind: pa.DataType) -> Array:
    """Return an array of nulls, of any type."""
    column: Array = pa.nulls(length, kind)  # type: ignore[call-overload]
    return column


def repeat(value: Scalar, length: int) -> Array:
    """Return an array that repeats one value."""
    column: Array = pa.repeat(value, length)  # type: ignore[call-overload]
    return column
