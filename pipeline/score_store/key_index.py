"""Find stored keys, with about 5 bytes a key: its first 29 bits and the number of a batch.

A key that is not stored is taken for a stored one if these bits agree: of a million look-ups among
a million keys, about 2,000 read a batch in vain, which takes a millisecond each.

Of the 29 bits, the first 13 are the *bucket*. A long sorted array need not hold them: it is enough
to know where each bucket begins. So long arrays take half the memory of an array of numbers.
"""

from array import array
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import BatchArray, IntArray, KeyArray, LowBitsArray, ShortKeyArray
from pipeline.core.sorted_runs import RUN_SIZES, RunSizes, in_own_memory

_LOW_BITS = 16
_KEY_BITS = 13 + _LOW_BITS
_BUCKETS = np.arange((1 << (_KEY_BITS - _LOW_BITS)) + 1, dtype=np.uint32)


class IndexLimits(Struct, frozen=True):
    """When arrays of keys are merged or change their form; no result depends on it.

    Attributes:
        max_batches: Batches of one run, which are counted in 16 bits.
        many_keys: From so many keys on, a run keeps them by bucket.
        run_sizes: When neighbouring runs are merged.
    """

    max_batches: int = 1 << 16
    many_keys: int = 1 << 15
    run_sizes: RunSizes = RUN_SIZES


class Place(Struct, frozen=True, order=True):
    """A record batch in a segment: the segment's name, and the batch's offset and size there."""

    segment: str
    offset: int
    size: int


class FewKeys(Struct, frozen=True, eq=False):
    """Sorted short keys as they are."""

    keys: ShortKeyArray

    def numbers(self) -> ShortKeyArray:
        """Return the keys."""
        return self.keys

    def find(self, wanted: ShortKeyArray) -> tuple[IntArray, IntArray]:
        """Return all pairs of positions in `wanted` and among the keys that hold the same key."""
        starts = np.searchsorted(self.keys, wanted, "left")
        return _expand(starts, np.searchsorted(self.keys, wanted, "right"))

    def __len__(self) -> int:
        return len(self.keys)


class ManyKeys(Struct, frozen=True, eq=False):
    """Sorted short keys by bucket.

    Attributes:
        borders: Where each bucket begins, and where the last one ends.
        lows: The last 16 bits of each key.
    """

    borders: ShortKeyArray
    lows: LowBitsArray

    @classmethod
    def of(cls, keys: ShortKeyArray) -> "ManyKeys":
        """Return sorted keys in this form."""
        borders = np.searchsorted(keys, _BUCKETS << np.uint32(_LOW_BITS)).astype(np.uint32)
        return cls(borders, in_own_memory(keys.astype(np.uint16)))

    def numbers(self) -> ShortKeyArray:
        """Return the keys."""
        buckets = np.repeat(_BUCKETS[:-1], np.diff(self.borders))
        return (buckets << np.uint32(_LOW_BITS)) | self.lows

    def find(self, wanted: ShortKeyArray) -> tuple[IntArray, IntArray]:
        """Return all pairs of positions in `wanted` and among the keys that hold the same key."""
        buckets = wanted >> np.uint32(_LOW_BITS)
        positions, places = _expand(
            self.borders[buckets].astype(np.int64), self.borders[buckets + 1].astype(np.int64)
        )
        same = self.lows[places] == wanted.astype(np.uint16)[positions]
        return positions[same], places[same]

    def __len__(self) -> int:
        return len(self.lows)


ShortKeys: TypeAlias = FewKeys | ManyKeys


class _Run(Struct, frozen=True, eq=False):
    """The keys of adjacent batches.

    Attributes:
        first_batch: The number of the first batch.
        keys: The first bits of each key, sorted.
        batches: The batch of each key, counted from the first one.
    """

    first_batch: int
    keys: ShortKeys
    batches: BatchArray


class KeyIndex:
    """The places of all stored keys."""

    def __init__(self, limits: IndexLimits | None = None) -> None:
        self._limits = limits or IndexLimits()
        self._runs: list[_Run] = []
        self._length = 0
        self._segments: list[str] = []
        # One entry per batch. A long run writes a batch every 20 ms, so these are plain numbers.
        self._segment = array("i")
        self._offset = array("q")
        self._size = array("q")

    def add(self, place: Place, prefixes: KeyArray) -> None:
        """Record that the keys that begin with these 64 bits are in the batch at `place`."""
        if not self._segments or self._segments[-1] != place.segment:
            self._segments.append(place.segment)
        batch = len(self._offset)
        self._segment.append(len(self._segments) - 1)
        self._offset.append(place.offset)
        self._size.append(place.size)
        keys = self._in_best_form(np.sort(_first_bits(prefixes)))
        run = _Run(batch, keys, np.zeros(len(keys), np.uint16))
        self._length += len(keys)
        while self._runs and self._may_merge(self._runs[-1], run):
            run = self._merge(self._runs.pop(), run)
        self._runs.append(run)

    def find(self, wanted: KeyArray) -> dict[Place, list[int]]:
        """Return the places to read, in order, and which positions of `wanted` may be there."""
        keys = _first_bits(wanted)
        found: dict[int, list[int]] = {}
        for run in self._runs:
            positions, places = run.keys.find(keys)
            batches = run.batches[places]
            for position, batch in zip(positions.tolist(), batches.tolist(), strict=True):
                found.setdefault(run.first_batch + batch, []).append(position)
        return {self._place(batch): found[batch] for batch in sorted(found)}

    def _place(self, batch: int) -> Place:
        return Place(self._segments[self._segment[batch]], self._offset[batch], self._size[batch])

    def _may_merge(self, older: _Run, newer: _Run) -> bool:
        limits = self._limits
        return (
            limits.run_sizes.merges(len(older.keys), len(newer.keys), self._length)
            and len(self._offset) - older.first_batch <= limits.max_batches
        )

    def _merge(self, older: _Run, newer: _Run) -> _Run:
        shift = np.uint16(newer.first_batch - older.first_batch)
        keys = np.concatenate([older.keys.numbers(), newer.keys.numbers()])
        batches = np.concatenate([older.batches, newer.batches + shift])
        order = np.argsort(keys, kind="stable")  # linear, since it joins two sorted arrays
        return _Run(
            older.first_batch, self._in_best_form(keys[order]), in_own_memory(batches[order])
        )

    def _in_best_form(self, keys: ShortKeyArray) -> ShortKeys:
        return FewKeys(keys) if len(keys) < self._limits.many_keys else ManyKeys.of(keys)

    def __len__(self) -> int:
        return self._length


def _first_bits(prefixes: KeyArray) -> ShortKeyArray:
    return (prefixes >> np.uint64(64 - _KEY_BITS)).astype(np.uint32)


def _expand(starts: IntArray, stops: IntArray) -> tuple[IntArray, IntArray]:
    """Return all numbers from each start to its stop, and before them the position of each."""
    sizes = stops - starts
    before = np.cumsum(sizes) - sizes
    return (
        np.repeat(np.arange(len(sizes)), sizes),
        np.arange(sizes.sum()) + np.repeat(starts - before, sizes),
    )
