"""Millions of numbers in a few sorted arrays, as in a log-structured merge tree.

New numbers form a small sorted array, a run. A run is merged with the previous one if both have
about the same size, so that a look-up searches few runs and an addition moves few numbers. A merge
needs the memory of both runs twice for a moment, so the size of a run is limited to a share of all
numbers: a million numbers form about twenty runs.
"""

import mmap
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import BoolArray, KeyArray

Number = TypeVar("Number", bound=np.generic)

ALWAYS_MERGED = 1 << 16
MAX_SHARE = 16


class SortedRuns:
    """Unsigned numbers of one type, any of them any number of times."""

    def __init__(self, dtype: npt.DTypeLike = np.uint64) -> None:
        self._dtype = np.dtype(dtype)
        self._runs: list[KeyArray] = []
        self._length = 0

    def add(self, numbers: KeyArray) -> None:
        """Add numbers in any order."""
        if not len(numbers):
            return
        run = np.sort(numbers.astype(self._dtype, copy=False))
        self._length += len(run)
        while self._runs and worth_merging(len(self._runs[-1]), len(run), self._length):
            run = np.concatenate([self._runs.pop(), run])
            run.sort(kind="stable")  # linear, since it joins two sorted runs
        self._runs.append(set_apart(run))

    def add_and_tell(self, numbers: KeyArray) -> BoolArray:
        """Add numbers; which of them have occurred before, among them or in an earlier call."""
        order = np.argsort(numbers, kind="stable")
        ordered = numbers[order].astype(self._dtype, copy=False)
        before = np.zeros(len(numbers), np.bool_)
        before[order[1:]] = ordered[1:] == ordered[:-1]
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, ordered), len(run) - 1)
            before[order] |= run[places] == ordered
        self.add(ordered)
        return before

    def __len__(self) -> int:
        return self._length


def set_apart(array: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """The same; if it is large, in memory of its own, since what stays leaves holes elsewhere."""
    if len(array) < ALWAYS_MERGED // 2:
        return array
    apart: npt.NDArray[Number] = np.frombuffer(mmap.mmap(-1, array.nbytes), array.dtype)
    apart[:] = array
    return apart


def worth_merging(older: int, newer: int, total: int) -> bool:
    """Whether to merge the newest runs, given their sizes and that of all runs together."""
    return older <= 2 * newer and older + newer <= max(ALWAYS_MERGED, total // MAX_SHARE)
