"""Many short keys, sorted, in two bytes each and a little: which of them equal some others.

Of a key's 29 bits the first 13 tell its *bucket*. Sorted keys need not hold them: where each bucket
begins says as much. So many keys take half the bytes of numbers of their own.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from pipeline.core.arrays import IntArray
from pipeline.core.sorted_runs import in_own_memory
from pipeline.score_store.rows import PrefixArray

_LOW_BITS = 16
_KEY_BITS = 13 + _LOW_BITS
_BUCKETS = np.arange((1 << (_KEY_BITS - _LOW_BITS)) + 1, dtype=np.uint32)
MANY = 1 << 15

Numbers: TypeAlias = npt.NDArray[np.uint32]


def first_bits(prefixes: PrefixArray) -> Numbers:
    """The short keys of longer ones, in their order."""
    return (prefixes >> np.uint64(64 - _KEY_BITS)).astype(np.uint32)


class FewKeys(Struct, frozen=True, eq=False):
    """Sorted short keys as they are."""

    keys: Numbers

    def numbers(self) -> Numbers:
        """The keys."""
        return self.keys

    def find(self, wanted: Numbers) -> tuple[IntArray, IntArray]:
        """All pairs of positions in `wanted` and places among the keys that hold the same."""
        starts = np.searchsorted(self.keys, wanted, "left")
        return _ranges(starts, np.searchsorted(self.keys, wanted, "right"))

    def __len__(self) -> int:
        return len(self.keys)


class ManyKeys(Struct, frozen=True, eq=False):
    """Sorted short keys by bucket.

    Attributes:
        borders: Where each bucket begins, and where the last one ends.
        lows: The last bits of each key.
    """

    borders: npt.NDArray[np.uint32]
    lows: npt.NDArray[np.uint16]

    @classmethod
    def of(cls, keys: Numbers) -> "ManyKeys":
        """Sorted keys in fewer bytes."""
        borders = np.searchsorted(keys, _BUCKETS << np.uint32(_LOW_BITS)).astype(np.uint32)
        return cls(borders, in_own_memory(keys.astype(np.uint16)))

    def numbers(self) -> Numbers:
        """The keys."""
        buckets = np.repeat(_BUCKETS[:-1], np.diff(self.borders))
        return (buckets << np.uint32(_LOW_BITS)) | self.lows

    def find(self, wanted: Numbers) -> tuple[IntArray, IntArray]:
        """All pairs of positions in `wanted` and places among the keys that hold the same."""
        buckets = wanted >> np.uint32(_LOW_BITS)
        positions, places = _ranges(
            self.borders[buckets].astype(np.int64), self.borders[buckets + 1].astype(np.int64)
        )
        same = self.lows[places] == wanted.astype(np.uint16)[positions]
        return positions[same], places[same]

    def __len__(self) -> int:
        return len(self.lows)


ShortKeys: TypeAlias = FewKeys | ManyKeys


def short_keys(keys: Numbers) -> ShortKeys:
    """Sorted keys in the form that suits their number."""
    return FewKeys(keys) if len(keys) < MANY else ManyKeys.of(keys)


def _ranges(starts: IntArray, stops: IntArray) -> tuple[IntArray, IntArray]:
    """All numbers from each start to its stop, and the positions of these starts."""
    sizes = stops - starts
    before = np.cumsum(sizes) - sizes
    return (
        np.repeat(np.arange(len(sizes)), sizes),
        np.arange(sizes.sum()) + np.repeat(starts - before, sizes),
    )
