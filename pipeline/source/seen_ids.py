"""Which query ids have occurred."""

from collections.abc import Sequence

import numpy as np
import xxhash

from pipeline.arrays import KeyArray
from pipeline.groups import Id
from pipeline.sorted_runs import SortedRuns


class SeenIds:
    """Finds the second occurrence of an id among millions, in 8 bytes each.

    Two of a million different strings are taken for the same with a probability of 3e-8.
    """

    def __init__(self) -> None:
        self._keys = SortedRuns()

    def add(self, ids: Sequence[Id]) -> Id | None:
        """Add ids; return the first of them that has occurred before, if there is one."""
        again = self._keys.add_and_tell(id_keys(ids))
        return ids[int(again.argmax())] if again.any() else None


def id_keys(ids: Sequence[Id]) -> KeyArray:
    """A 64-bit number for each id: an integer as it is, a string's xxh3 hash."""
    if ids and isinstance(ids[0], int):
        return np.array([int(number) % 2**64 for number in ids], np.uint64)
    hashes = (xxhash.xxh3_64_intdigest(str(text).encode()) for text in ids)
    return np.fromiter(hashes, np.uint64, len(ids))
