"""Names for Arrow's dynamic types, whose stubs ask for the parameters that only data knows."""

from typing import Any, TypeAlias

import pyarrow as pa

Array: TypeAlias = "pa.Array[Any]"
Field: TypeAlias = "pa.Field[Any]"
Scalar: TypeAlias = "pa.Scalar[Any]"


def joined(column: "pa.ChunkedArray[Any]") -> Any:
    """A column as one array; copied only where it has several chunks."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def nulls(length: int, kind: pa.DataType) -> Array:
    """Nothing but nulls, of any type."""
    column: Array = pa.nulls(length, kind)  # type: ignore[call-overload]
    return column


def repeated(value: Scalar, length: int) -> Array:
    """One value over and over."""
    column: Array = pa.repeat(value, length)  # type: ignore[call-overload]
    return column
