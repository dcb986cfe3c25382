"""Upper bounds of Qwen token counts: a weight per character, summed over Arrow buffers.

For a text in NFC, count <= sum of `weights` + sum of `after_blank` over the characters that follow
a blank (U+0020). The proof and the derivation of the table are in `tests/support/derive_bound.py`.
The bound holds for this vocabulary only. The bound of an ASCII text is its length.
"""

import unicodedata
import zlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import ByteArray, IntArray
from pipeline.tokens.normal_form import INERT, to_nfc
from pipeline.tokens.text_buffers import text_bytes

Texts: TypeAlias = "pa.Array[Any] | pa.ChunkedArray[Any]"

TABLE_FILE = Path(__file__).with_name("qwen_bound.bin")
NUM_UNITS = 65_536
"""Values of a UTF-16 code unit."""
PART_BYTES = 1 << 18
"""Bytes of text that are looked up in the table at once: they stay in the processor's cache."""
_BLANK = 0x20
_LAST_ASCII = 0x7F
_PERHAPS_NOT_NFC = np.uint8(0x80)
_FIRST_BYTE_OF_FOUR = 0xF0


class BoundTable(NamedTuple):
    """Weights by UTF-16 unit, 65,536 each; that of a surrogate pair is at its high surrogate."""

    weights: ByteArray
    after_blank: ByteArray


@cache
def bound_table() -> BoundTable:
    """Return the table that ships with the package (12 KB, loaded in .5 ms)."""
    both = np.frombuffer(zlib.decompress(TABLE_FILE.read_bytes()), dtype=np.uint8)
    return BoundTable(both[:NUM_UNITS], both[NUM_UNITS:])


def upper_bounds(texts: Texts, *, part_bytes: int = PART_BYTES) -> IntArray:
    """Return an upper bound of the tokens of each text; 0 for null.

    A bound depends on its text alone, so requests do not depend on how the input was read.

    Args:
        texts: Valid UTF-8 of any Arrow string type.
        part_bytes: How many bytes to look up at once.

    Returns:
        One bound per text, in order.

    Raises:
        UnicodeDecodeError: if a text is not valid UTF-8, which Arrow does not ensure.
    """
    array = _large_strings(texts)
    bounds = _lengths(pc.binary_length(array))
    if not bounds.any() or np.frombuffer(text_bytes(array), np.uint8).max() <= _LAST_ASCII:
        return bounds
    num_characters = _lengths(pc.utf8_length(array))
    beyond_ascii = np.flatnonzero(bounds != num_characters)
    # In small parts, a text that is not in NFC slows down only a few others.
    part_of = np.cumsum(bounds[beyond_ascii]) // part_bytes
    for part in np.split(beyond_ascii, 1 + np.flatnonzero(np.diff(part_of))):
        if part.size:
            bounds[part] = _bounds_by_table(array.take(part), num_characters[part])
    return bounds


def upper_bound(text: str) -> int:
    """Return an upper bound of the tokens of one text."""
    return len(text) if text.isascii() else int(upper_bounds(pa.array([to_nfc(text)]))[0])


@cache
def _weights_and_flags() -> "pa.Array[Any]":
    """Return the weights; the highest bit is set for units that NFC may change."""
    table = bound_table().weights | _PERHAPS_NOT_NFC
    for first, last in zip(INERT[::3], INERT[2::3], strict=True):
        table[ord(first) : ord(last) + 1] &= ~_PERHAPS_NOT_NFC
    return pa.array(table, pa.uint8())


def _bounds_by_table(array: pa.LargeStringArray, num_characters: IntArray) -> IntArray:
    """Bound texts that are neither null nor empty, with the given numbers of characters."""
    text = str(text_bytes(array), "utf-8")
    units = np.frombuffer(text.encode("utf-16-le"), dtype=np.uint16)
    # Arrow's `take` is eight times as fast as NumPy's indexing.
    weights: ByteArray = pc.take(_weights_and_flags(), pa.array(units, pa.uint16())).to_numpy()
    if weights.max() >= _PERHAPS_NOT_NFC and not unicodedata.is_normalized("NFC", text):
        texts = [text.as_py() for text in array]
        normal = [to_nfc(text) for text in texts]
        if normal != texts:  # else only the joined text is not in NFC
            lengths = np.fromiter(map(len, normal), np.int64, len(normal))
            return _bounds_by_table(pa.array(normal, pa.large_string()), lengths)
    num_units = num_characters
    if units.size != len(text):  # some characters take two units
        takes_two = np.frombuffer(text_bytes(array), np.uint8) >= _FIRST_BYTE_OF_FOUR
        first_bytes = _starts(_lengths(pc.binary_length(array)))
        num_units = num_units + np.add.reduceat(takes_two, first_bytes, dtype=np.int64)
    starts = _starts(num_units)
    weights = weights & ~_PERHAPS_NOT_NFC
    is_blank_before = (units[:-1] == _BLANK) & (units[1:] > _LAST_ASCII)
    is_blank_before[starts[1:] - 1] = False  # the blank ends another text
    follows_blank = 1 + np.flatnonzero(is_blank_before)
    weights[follows_blank] += bound_table().after_blank[units[follows_blank]]
    return np.add.reduceat(weights, starts, dtype=np.int64)


def _large_strings(texts: Texts) -> pa.LargeStringArray:
    array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    return cast("pa.LargeStringArray", array.cast(pa.large_string()))


def _lengths(array: "pa.Array[Any]") -> IntArray:
    lengths: IntArray = array.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _starts(lengths: IntArray) -> IntArray:
    return np.cumsum(lengths) - lengths
