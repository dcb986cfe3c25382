"""Where each stored key lies, in 8 bytes a key: the first bits of the key, and a batch's number.

A key that is not stored is taken for a stored one when these bits agree: of a million look-ups
among a million keys about 15 read a batch in vain, which takes a millisecond each.
"""

from array import array

import numpy as np
from msgspec import Struct

from pipeline.errors import OutputFailed
from pipeline.score_store.rows import PrefixArray
from pipeline.sorted_runs import SortedRuns

_BATCH_BITS = 28
"""Room for 268 million batches: two months of one every 20 ms."""
_BATCH = np.uint64(2**_BATCH_BITS - 1)


class Place(Struct, frozen=True, order=True):
    """A record batch in a segment: the segment's name and the batch's bytes in it."""

    segment: str
    offset: int
    size: int


class KeyIndex:
    """The places of all stored keys."""

    def __init__(self) -> None:
        self._entries = SortedRuns()
        self._segments: list[str] = []
        # One entry per batch. A long run writes a batch every 20 ms, so these are plain numbers.
        self._segment = array("i")
        self._offset = array("q")
        self._size = array("q")

    def add(self, place: Place, prefixes: PrefixArray) -> None:
        """Say that the keys with these prefixes are in the batch at `place`.

        Raises:
            OutputFailed: if there are more batches than can be told apart.
        """
        if not self._segments or self._segments[-1] != place.segment:
            self._segments.append(place.segment)
        batch = len(self._offset)
        if batch > _BATCH:
            raise OutputFailed(
                "the score store has too many batches",
                which=place.segment,
                expected=f"at most {int(_BATCH) + 1:,}",
                cure="use another --score-store",
            )
        self._segment.append(len(self._segments) - 1)
        self._offset.append(place.offset)
        self._size.append(place.size)
        self._entries.add((prefixes & ~_BATCH) | np.uint64(batch))

    def find(self, wanted: PrefixArray) -> dict[Place, list[int]]:
        """The places to read, in order, and which positions of `wanted` may be found there."""
        positions, entries = self._entries.between(wanted & ~_BATCH, wanted | _BATCH)
        found: dict[int, list[int]] = {}
        for position, batch in zip(positions.tolist(), (entries & _BATCH).tolist(), strict=True):
            found.setdefault(batch, []).append(position)
        return {self._place(batch): found[batch] for batch in sorted(found)}

    def _place(self, batch: int) -> Place:
        return Place(self._segments[self._segment[batch]], self._offset[batch], self._size[batch])

    def __len__(self) -> int:
        return len(self._entries)
