"""Types of arrays as they stand in signatures; shapes and order are in the docstrings there."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int64]
"""Rows, offsets, sizes, tokens."""

KeyArray: TypeAlias = npt.NDArray[np.uint64]
"""Hashes of contents."""

FloatArray: TypeAlias = npt.NDArray[np.float64]
"""Scores."""

BoolArray: TypeAlias = npt.NDArray[np.bool_]
