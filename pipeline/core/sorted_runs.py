"""Millions of numbers in a few sorted arrays, as in a log-structured merge tree.

New numbers form a small sorted array, a run. A run is merged with the previous one if both have
about the same size, so that a look-up searches few runs and an addition moves few numbers. A merge
needs the memory of both runs twice for a moment, so the size of a run is limited to a share of all
numbers: a million numbers form about twenty runs.
"""

import mmap
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from pipeline.core.arrays import BoolArray, KeyArray

Number = TypeVar("Number", bound=np.generic)

OWN_MEMORY_LENGTH: Final = 1 << 15
"""Arrays of so many elements get memory of their own."""


class RunSizes(Struct, frozen=True):
    """When two neighbouring runs are merged.

    Attributes:
        always_merged: Runs of about equal size are merged up to this length, whatever the total.
        max_share: Beyond it, up to the total divided by `max_share`.
    """

    always_merged: int = 1 << 16
    max_share: int = 16

    def merges(self, older: int, newer: int, total: int) -> bool:
        """Return whether to merge the two newest runs, given the lengths of both and of all."""
        most = max(self.always_merged, total // self.max_share)
        return older <= 2 * newer and older + newer <= most


RUN_SIZES: Final = RunSizes()


class SortedRuns:
    """A multiset of unsigned integers.

    Args:
        dtype: Their type.
        sizes: When runs are merged.
        own_memory_length: The length from which a run gets memory of its own.
    """

    def __init__(
        self,
        dtype: npt.DTypeLike = np.uint64,
        *,
        sizes: RunSizes = RUN_SIZES,
        own_memory_length: int = OWN_MEMORY_LENGTH,
    ) -> None:
        self._dtype = np.dtype(dtype)
        self._sizes = sizes
        self._own_memory_length = own_memory_length
        self._runs: list[KeyArray] = []
        self._length = 0

    def add(self, numbers: KeyArray) -> None:
        """Add numbers in any order."""
        if not len(numbers):
            return
        run = np.sort(numbers.astype(self._dtype, copy=False))
        self._length += len(run)
        while self._runs and self._sizes.merges(len(self._runs[-1]), len(run), self._length):
            run = np.concatenate([self._runs.pop(), run])
            run.sort(kind="stable")  # linear time: it joins two sorted runs
        self._runs.append(in_own_memory(run, self._own_memory_length))

    def add_and_mark_repeats(self, numbers: KeyArray) -> BoolArray:
        """Add numbers, and return which of them occurred before, here or in an earlier call."""
        order = np.argsort(numbers, kind="stable")
        ordered = numbers[order].astype(self._dtype, copy=False)
        repeats = np.zeros(len(numbers), np.bool_)
        repeats[order[1:]] = ordered[1:] == ordered[:-1]
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, ordered), len(run) - 1)
            repeats[order] |= run[places] == ordered
        self.add(ordered)
        return repeats

    def __len__(self) -> int:
        return self._length


def in_own_memory(
    array: npt.NDArray[Number], min_length: int = OWN_MEMORY_LENGTH
) -> npt.NDArray[Number]:
    """Return the array; a long one is copied to a memory mapping of its own.

    Arrays that live long, among others that do not, would fragment the heap.
    """
    if len(array) < min_length:
        return array
    copy: npt.NDArray[Number] = np.frombuffer(mmap.mmap(-1, array.nbytes), array.dtype)
    copy[:] = array
    return copy
