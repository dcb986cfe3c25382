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

FloatArray: TypeAlias = npt.NDArray[np.float64]
"""Scores, logits, weights."""

BoolArray: TypeAlias = npt.NDArray[np.bool_]
"""Masks."""

ByteArray: TypeAlias = npt.NDArray[np.uint8]
"""UTF-8 text, small weights."""
