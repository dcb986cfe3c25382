"""Bounds of token counts by the bytes of texts: looser than those by the table, and nearly free.

A token covers at least one byte, so a text has at most as many tokens as bytes in normal form C,
which the tokenizer uses. There a text has at most three times its bytes; it has no more than before
if it holds no character that may grow (`GROWING`): one whose normal form is longer, or a combining
mark that may replace a smaller one in the character before. Unicode 14 has 92 of the former, and
all of the latter begin with the byte CC.
"""

import unicodedata
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import ByteArray, IntArray
from pipeline.tokens.text_buffers import text_bytes, text_offsets

GROWING: Final = ("cc", "cd", "e0", "e2ab", "efa9", "efab", "efac", "efad", "f09d")
"""First bytes of the UTF-8 of characters that may grow; most texts have none of these."""

MOST_GROWTH: Final = 3
"""How many times as long a text may be in normal form C."""

_LAST_ASCII: Final = 0x7F


def byte_bounds(texts: pa.LargeStringArray) -> IntArray:
    """Return an upper bound of the Qwen tokens of each text; a bound depends on its text alone.

    Args:
        texts: Valid UTF-8; the bound of a null is arbitrary.
    """
    offsets, octets = text_offsets(texts), np.frombuffer(text_bytes(texts), np.uint8)
    bounds = np.diff(offsets)
    if octets.max(initial=0) > _LAST_ASCII:
        for start in (0, 1):
            grows = start + 2 * _growing_pairs(octets[start:])
            owners = np.unique(np.searchsorted(offsets, grows, "right") - 1)
            bounds[owners] = MOST_GROWTH * np.diff(offsets)[owners]
    return bounds


def byte_bound(text: str) -> int | None:
    """Return an upper bound of the Qwen tokens of a text; None if it is not in normal form C."""
    if not unicodedata.is_normalized("NFC", text):
        return None
    return len(text.encode(errors="surrogatepass"))


def _growing_pairs(octets: ByteArray) -> IntArray:
    """Return which pairs of bytes, counted from 0, begin a character that may grow."""
    pairs = np.frombuffer(octets[: len(octets) // 2 * 2].tobytes(), np.uint16)
    # Arrow's `take` is eight times as fast as NumPy's indexing.
    grows: ByteArray = pc.take(_table(), pa.array(pairs, pa.uint16())).to_numpy()
    return np.flatnonzero(grows) if grows.max(initial=0) else np.empty(0, np.int64)


@cache
def _table() -> "pa.Array[Any]":
    """Return 1 for each pair of bytes, the second one times 256, that begins such a character."""
    table = np.zeros((256, 256), np.uint8)
    for first, *second in map(bytes.fromhex, GROWING):
        table[second or range(0x80, 0xC0), first] = 1
    return pa.array(table.ravel())
