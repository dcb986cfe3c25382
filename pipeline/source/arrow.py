"""Names and calls for Arrow's dynamic types, for which the stubs ask for type parameters."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import ByteArray

Array: TypeAlias = "pa.Array[Any]"
Field: TypeAlias = "pa.Field[Any]"
Scalar: TypeAlias = "pa.Scalar[Any]"

_UUID_BYTES, _UUID_CHARACTERS = 16, 36
_UUID_DASHES: Final = (8, 13, 18, 23)
_HEX_DIGITS: Final = np.frombuffer(bytes(range(256)).hex().encode(), np.uint8).reshape(-1, 2)


def one_chunk(column: "pa.ChunkedArray[Any]") -> Any:
    """Return a column as one array; copied only if it has several chunks."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


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


def uuid_texts(column: Any) -> Array:
    """Return the text of each UUID, in lower case with dashes: 123e4567-e89b-12d3-..."""
    stored = column.storage
    raw = np.frombuffer(stored.buffers()[1] or b"", np.uint8)
    start = stored.offset * _UUID_BYTES
    raw = raw[start : start + len(stored) * _UUID_BYTES]
    texts: ByteArray = np.full((len(stored), _UUID_CHARACTERS), ord("-"), np.uint8)
    digits = [at for at in range(_UUID_CHARACTERS) if at not in _UUID_DASHES]
    texts[:, digits] = _HEX_DIGITS[raw].reshape(len(stored), -1)
    offsets = np.arange(len(stored) + 1, dtype=np.int32) * _UUID_CHARACTERS
    filled = pa.StringArray.from_buffers(
        len(stored), pa.py_buffer(offsets.tobytes()), pa.py_buffer(texts.tobytes())
    )
    checked: Array = pc.if_else(stored.is_valid(), filled, pa.scalar(None, pa.string()))
    return checked
