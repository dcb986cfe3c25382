"""Where each stored key lies, in some 5 bytes a key: its first bits, and a batch's number.

A key that is not stored is taken for a stored one when these bits agree: of a million look-ups
among a million keys about 2,000 read a batch in vain, which takes a millisecond each.
"""

from array import array

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from pipeline.core.sorted_runs import RUN_SIZES, RunSizes, in_own_memory
from pipeline.score_store.rows import PrefixArray
from pipeline.score_store.short_keys import ShortKeys, first_bits, short_keys

MAX_BATCHES = 1 << 16
"""Of one run, whose batches are counted in 16 bits."""


class Place(Struct, frozen=True, order=True):
    """A record batch in a segment: the segment's name and the batch's bytes in it."""

    segment: str
    offset: int
    size: int


class _Run(Struct, frozen=True, eq=False):
    """The keys of adjacent batches.

    Attributes:
        first_batch: The number of the first batch.
        keys: The first bits of each key.
        batches: The batch of each key, counted from the first one.
    """

    first_batch: int
    keys: ShortKeys
    batches: npt.NDArray[np.uint16]

    def with_next(self, following: "_Run") -> "_Run":
        """One run of both."""
        shift = np.uint16(following.first_batch - self.first_batch)
        keys = np.concatenate([self.keys.numbers(), following.keys.numbers()])
        batches = np.concatenate([self.batches, following.batches + shift])
        order = np.argsort(keys, kind="stable")  # linear, since it joins two sorted arrays
        return _Run(self.first_batch, short_keys(keys[order]), in_own_memory(batches[order]))


class KeyIndex:
    """The places of all stored keys.

    Args:
        run_sizes: When runs of keys are merged.
    """

    def __init__(self, run_sizes: RunSizes = RUN_SIZES) -> None:
        self._run_sizes = run_sizes
        self._runs: list[_Run] = []
        self._length = 0
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
        keys = short_keys(np.sort(first_bits(prefixes)))
        run = _Run(batch, keys, np.zeros(len(keys), np.uint16))
        self._length += len(keys)
        while (
            self._runs
            and self._run_sizes.merges(len(self._runs[-1].keys), len(run.keys), self._length)
            and batch - self._runs[-1].first_batch < MAX_BATCHES
        ):
            run = self._runs.pop().with_next(run)
        self._runs.append(run)

    def find(self, wanted: PrefixArray) -> dict[Place, list[int]]:
        """The places to read, in order, and which positions of `wanted` may be found there."""
        keys = first_bits(wanted)
        found: dict[int, list[int]] = {}
        for run in self._runs:
            positions, places = run.keys.find(keys)
            batches = run.batches[places]
            for position, batch in zip(positions.tolist(), batches.tolist(), strict=True):
                found.setdefault(run.first_batch + batch, []).append(position)
        return {self._place(batch): found[batch] for batch in sorted(found)}

    def _place(self, batch: int) -> Place:
        return Place(self._segments[self._segment[batch]], self._offset[batch], self._size[batch])

    def __len__(self) -> int:
        return self._length
