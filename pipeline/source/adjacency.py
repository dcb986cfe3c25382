"""Whether the rows of each query are adjacent, found out for a whole input in 4 bytes a query.

The first pass keeps a 32-bit number for each id. Where one occurs twice, about a hundred times in
a million ids, a second pass looks at the ids that have it, so the verdict is exact.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import xxhash

from pipeline.core.arrays import KeyArray
from pipeline.core.errors import InputError, shorten
from pipeline.core.groups import Id
from pipeline.core.sorted_runs import SortedRuns

_ODD = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: to multiply by it spreads numbers that lie side by side."""


def count_whole_queries(read: Callable[[], Iterable[tuple[str, Sequence[Id]]]]) -> int:
    """How many queries there are; proves that the rows of each are adjacent.

    Args:
        read: Begins to read from the first row; yields file names and the ids that begin there.

    Raises:
        InputError: if an id begins twice.
    """
    seen, total, repeated = SortedRuns(np.uint32), 0, set[int]()
    for _, ids in read():
        keys = _short_keys(ids)
        repeated.update(keys[seen.add_and_tell(keys)].tolist())
        total += len(ids)
    if repeated:
        _refuse_a_second_one(read, np.array(sorted(repeated), np.uint32))
    return total


def _refuse_a_second_one(
    read: Callable[[], Iterable[tuple[str, Sequence[Id]]]], suspects: KeyArray
) -> None:
    seen = set[Id]()
    for file_name, ids in read():
        for place in np.flatnonzero(np.isin(_short_keys(ids), suspects)).tolist():
            if ids[place] in seen:
                raise not_adjacent(file_name, ids[place])
            seen.add(ids[place])


def not_adjacent(file_name: str, query_id: Id) -> InputError:
    """The rows of this query lie apart."""
    return InputError(
        "the rows of a query are not adjacent",
        which=file_name,
        found=f"query_id {shorten(repr(query_id), 100)} again after another one",
        cure="sort the input by query_id",
    )


def _short_keys(ids: Sequence[Id]) -> KeyArray:
    keys: KeyArray = ((id_keys(ids) * _ODD) >> np.uint64(32)).astype(np.uint32)
    return keys


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
