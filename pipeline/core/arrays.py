"""Types of arrays in signatures; shapes and order are given in the docstrings there."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int64]
"""Rows, offsets, sizes, token counts."""

RankArray: TypeAlias = npt.NDArray[np.int32]
"""First-stage ranks."""

KeyArray: TypeAlias = npt.NDArray[np.uint64]
"""Hashes of contents."""

ShortKeyArray: TypeAlias = npt.NDArray[np.uint32]
"""The first bits of hashes."""

LowBitsArray: TypeAlias = npt.NDArray[np.uint16]
"""The last bits of short keys."""

BatchArray: TypeAlias = npt.NDArray[np.uint16]
"""Record batches, counted from the first one of a run."""

OffsetArray: TypeAlias = npt.NDArray[np.int32]
"""Offsets of an Arrow list."""

FloatArray: TypeAlias = npt.NDArray[np.float64]
"""Scores, logits, weights."""

BoolArray: TypeAlias = npt.NDArray[np.bool_]
"""Masks."""

ByteArray: TypeAlias = npt.NDArray[np.uint8]
"""UTF-8 text, small weights."""
