"""What packing must know of texts, measured for many texts at once.

Measures are taken of many texts at once: one pass over Arrow's buffers instead of one call for each
text, and no Python string is built for a text that is not sent.
"""

from itertools import pairwise
from typing import Protocol

import numpy as np
import pyarrow as pa
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from pipeline.core.arrays import BoolArray, IntArray
from pipeline.core.groups import TextMeasures


class BoundsTokens(Protocol):
    """Whatever can say how many tokens texts have at most."""

    def upper_bounds(self, texts: pa.LargeStringArray) -> IntArray:
        """int64 per text, never too small; 0 for null."""
        ...


def measure_texts(texts: pa.LargeStringArray, counter: BoundsTokens) -> TextMeasures:
    """Measure texts; every array of the result has one element per text, in their order."""
    offsets = _offsets(texts)
    data = texts.buffers()[2]
    octets = memoryview(data) if data is not None else memoryview(b"")
    places = offsets.tolist()
    # Joined bytes become an array sooner than as many Python integers would.
    digests = b"".join([xxh3_64_digest(octets[start:stop]) for start, stop in pairwise(places)])
    return TextMeasures(
        token_bounds=counter.upper_bounds(texts),
        sizes=np.diff(offsets),
        keys=np.frombuffer(digests, dtype=">u8").astype(np.uint64),
        blank=_blank(texts, offsets, octets),
    )


def text_key(text: str) -> int:
    """The 64-bit key of one text, the same that `measure_texts` gives it."""
    return xxh3_64_intdigest(text.encode())


def _offsets(texts: pa.LargeStringArray) -> IntArray:
    """Where each text begins in the data buffer, and where the last one ends."""
    buffer = texts.buffers()[1]
    if buffer is None:
        return np.zeros(1, dtype=np.int64)
    offsets: IntArray = np.frombuffer(memoryview(buffer), dtype=np.int64)
    return offsets[texts.offset : texts.offset + len(texts) + 1]


_MAY_START_WHITE_SPACE = np.zeros(256, dtype=np.bool_)
_MAY_START_WHITE_SPACE[[*range(0x21), 0xC2, 0xE1, 0xE2, 0xE3]] = True
"""First UTF-8 bytes of ASCII white space, U+0085, U+00A0, U+1680, U+2000..U+3000."""


def _blank(texts: pa.LargeStringArray, offsets: IntArray, octets: memoryview) -> BoolArray:
    blank: BoolArray = np.diff(offsets) == 0
    filled = np.flatnonzero(~blank)
    if len(filled):
        first = np.frombuffer(octets, dtype=np.uint8)[offsets[:-1][filled]]
        # Only texts that begin like white space can be nothing else; few do.
        for place in filled[_MAY_START_WHITE_SPACE[first]]:
            blank[place] = not str(octets[offsets[place] : offsets[place + 1]], "utf-8").strip()
    if texts.null_count:
        blank |= texts.is_null().to_numpy(zero_copy_only=False)
    return blank
