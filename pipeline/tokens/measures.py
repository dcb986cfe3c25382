"""Measure many texts at once: what packing needs to know of them.

Each measure is one pass over Arrow's buffers instead of one call per text, and no Python string is
built for a text that is not sent.
"""

from itertools import pairwise

import numpy as np
import pyarrow as pa
from xxhash import xxh3_64_digest

from pipeline.core.arrays import BoolArray, IntArray
from pipeline.core.groups import TextMeasures
from pipeline.tokens.byte_bounds import byte_bounds
from pipeline.tokens.text_buffers import text_bytes, text_offsets


def measure_texts(texts: pa.LargeStringArray) -> TextMeasures:
    """Return the measures of texts: arrays of one element per text, in their order."""
    offsets, octets = text_offsets(texts), text_bytes(texts)
    borders = offsets.tolist()
    # Joined digests become an array faster than a list of Python integers.
    digests = b"".join([xxh3_64_digest(octets[start:stop]) for start, stop in pairwise(borders)])
    return TextMeasures(
        token_bounds=byte_bounds(texts),
        sizes=np.diff(offsets),
        content_hashes=np.frombuffer(digests, dtype=">u8").astype(np.uint64),
        blank=_blank(texts, offsets, octets),
    )


_STARTS_LIKE_WHITE_SPACE = np.zeros(256, dtype=np.bool_)
_STARTS_LIKE_WHITE_SPACE[[*range(0x21), 0xC2, 0xE1, 0xE2, 0xE3]] = True
"""By byte: whether UTF-8 of white space begins with it (ASCII, U+0085, U+00A0, U+1680 and from
U+2000 to U+3000)."""


def _blank(texts: pa.LargeStringArray, offsets: IntArray, octets: memoryview) -> BoolArray:
    blank: BoolArray = np.diff(offsets) == 0
    filled = np.flatnonzero(~blank)
    if len(filled):
        first = np.frombuffer(octets, dtype=np.uint8)[offsets[:-1][filled]]
        # Only a text that begins like white space can be blank; few do.
        for index in filled[_STARTS_LIKE_WHITE_SPACE[first]]:
            blank[index] = not str(octets[offsets[index] : offsets[index + 1]], "utf-8").strip()
    if texts.null_count:
        blank |= texts.is_null().to_numpy(zero_copy_only=False)
    return blank
