"""Encode lists of texts as JSON, or measure texts in it: a few passes over a column of Arrow."""

from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import IntArray
from pipeline.core.json_texts import JsonTexts
from pipeline.tokens.text_buffers import text_bytes, text_offsets

_FIRST_UNESCAPED: Final = 0x20
"""JSON escapes all characters below this one (RFC 8259, section 7)."""

_SHORT_ESCAPES: Final = {"\b": r"\b", "\t": r"\t", "\n": r"\n", "\f": r"\f", "\r": r"\r"}
_BETWEEN: Final = pa.scalar('","', pa.large_string())


def encode_lists(texts: pa.LargeStringArray, offsets: IntArray) -> list[JsonTexts]:
    """Return lists of texts as JSON arrays.

    Args:
        texts: Valid UTF-8; none is null.
        offsets: int64 [number of lists + 1]; list l holds the texts offsets[l] to offsets[l + 1].
            No list is empty.
    """
    lists: Any = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), _escaped(texts))
    joined: Any = pc.binary_join(lists, _BETWEEN)
    octets, borders = text_bytes(joined), text_offsets(joined).tolist()
    return [
        JsonTexts(b"".join((b'["', octets[start:stop], b'"]')), num_texts)
        for (start, stop), num_texts in zip(
            pairwise(borders), np.diff(offsets).tolist(), strict=True
        )
    ]


def json_sizes(texts: pa.LargeStringArray) -> IntArray:
    """Return the bytes of each text as a JSON string; the texts are as in `encode_lists`."""
    return np.diff(text_offsets(_escaped(texts))) + len('""')


def _escaped(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return the texts as they stand between the quotes of JSON strings."""
    octets = np.frombuffer(text_bytes(texts), np.uint8)
    for character in ("\\", '"'):  # the backslash first, since the others bring new ones
        if (octets == ord(character)).any():
            texts = pc.replace_substring(texts, character, "\\" + character)
    if octets.min(initial=_FIRST_UNESCAPED) < _FIRST_UNESCAPED:
        for code in np.unique(octets[octets < _FIRST_UNESCAPED]).tolist():
            escape = _SHORT_ESCAPES.get(chr(code), f"\\u{code:04x}")
            texts = pc.replace_substring(texts, chr(code), escape)
    return texts
