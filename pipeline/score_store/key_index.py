"""Where each stored key lies: sorted 64-bit prefixes, 12 bytes a key.

New keys come as small sorted runs, and a run is merged with its neighbour when they are of like
size, so a look-up visits few runs and an addition moves few numbers, as in a log-structured merge
tree.
"""

from array import array

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from pipeline.score_store.rows import PrefixArray
from pipeline.sorted_runs import worth_merging

IntArray32 = npt.NDArray[np.int32]


class SortedPrefixes:
    """Key prefixes and a number for each; a prefix may occur more than once."""

    def __init__(self) -> None:
        self._runs: list[tuple[PrefixArray, IntArray32]] = []
        self._total = 0

    def add(self, prefixes: PrefixArray, numbers: IntArray32) -> None:
        """Add prefixes in any order."""
        if not len(prefixes):
            return
        self._runs.append(_sorted(prefixes, numbers))
        self._total += len(prefixes)
        while self._merges_last():
            (prefixes, numbers), (older, older_numbers) = self._runs.pop(), self._runs.pop()
            merged = np.concatenate([older, prefixes]), np.concatenate([older_numbers, numbers])
            self._runs.append(_sorted(*merged))

    def find(self, wanted: PrefixArray) -> tuple[IntArray32, IntArray32]:
        """Positions in `wanted` and the numbers found there, one pair per occurrence."""
        positions, numbers = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        for run, run_numbers in self._runs:
            first = np.searchsorted(run, wanted, "left")
            counts = np.searchsorted(run, wanted, "right") - first
            positions.append(np.repeat(np.arange(len(wanted), dtype=np.int32), counts))
            # The j-th occurrence of a prefix lies j places after its first one.
            occurrence = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            numbers.append(run_numbers[np.repeat(first, counts) + occurrence])
        return np.concatenate(positions), np.concatenate(numbers)

    def __contains__(self, prefix: np.uint64) -> bool:
        return bool(len(self.find(np.array([prefix]))[0]))

    def _merges_last(self) -> bool:
        if len(self._runs) < 2:
            return False
        (older, _), (newer, _) = self._runs[-2:]
        return worth_merging(len(older), len(newer), self._total)

    def __len__(self) -> int:
        return self._total


class Place(Struct, frozen=True, order=True):
    """A record batch in a segment: the segment's name and the batch's bytes in it."""

    segment: str
    offset: int
    size: int


class KeyIndex:
    """The places of all stored keys."""

    def __init__(self) -> None:
        self._prefixes = SortedPrefixes()
        self._segments: list[str] = []
        # One entry per batch. A long run writes a batch every 20 ms, so these are plain numbers.
        self._segment = array("i")
        self._offset = array("q")
        self._size = array("q")

    def add(self, place: Place, prefixes: PrefixArray) -> None:
        """Say that the keys with these prefixes are in the batch at `place`."""
        if not self._segments or self._segments[-1] != place.segment:
            self._segments.append(place.segment)
        batch = len(self._offset)
        self._segment.append(len(self._segments) - 1)
        self._offset.append(place.offset)
        self._size.append(place.size)
        self._prefixes.add(prefixes, np.full(len(prefixes), batch, np.int32))

    def find(self, wanted: PrefixArray) -> dict[Place, list[int]]:
        """The places to read, in order, and which positions of `wanted` may be found there."""
        positions, batches = self._prefixes.find(wanted)
        found: dict[int, list[int]] = {}
        for position, batch in zip(positions.tolist(), batches.tolist(), strict=True):
            found.setdefault(batch, []).append(position)
        return {self._place(batch): found[batch] for batch in sorted(found)}

    def _place(self, batch: int) -> Place:
        return Place(self._segments[self._segment[batch]], self._offset[batch], self._size[batch])

    def __len__(self) -> int:
        return len(self._prefixes)


def _sorted(prefixes: PrefixArray, numbers: IntArray32) -> tuple[PrefixArray, IntArray32]:
    order = np.argsort(prefixes, kind="stable")  # linear where two sorted runs are joined
    return prefixes[order], numbers[order]
