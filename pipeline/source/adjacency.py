"""Check whether the rows of each query are adjacent.

While groups are read, `SeenIds` keeps 8 bytes for each id. Counting the queries of a whole input
takes 4 bytes each: the first pass keeps a 32-bit hash of every id, and a second pass looks at the
ids whose hashes occur twice, about a hundred in a million, so the result is exact.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow.compute as pc
import xxhash

from pipeline.core.arrays import IntArray, KeyArray
from pipeline.core.errors import InputError, shorten
from pipeline.core.groups import Id
from pipeline.core.sorted_runs import SortedRuns
from pipeline.source.arrow import Array

ReadStarts: TypeAlias = Callable[[], Iterable[tuple[str, Sequence[Id]]]]
"""Reads from the first row; yields file names, and the ids of the queries that begin there."""

HashIds: TypeAlias = Callable[[Sequence[Id]], KeyArray]

_GOLDEN_RATIO_64 = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: multiplying by it spreads neighbouring numbers."""


def hash_ids_64(ids: Sequence[Id]) -> KeyArray:
    """Return 64 bits for each id: an integer as it is, the xxh3 hash of a string."""
    if ids and isinstance(ids[0], int):
        return np.array([int(number) % 2**64 for number in ids], np.uint64)
    hashes = (xxhash.xxh3_64_intdigest(str(text).encode()) for text in ids)
    return np.fromiter(hashes, np.uint64, len(ids))


def hash_ids_32(ids: Sequence[Id]) -> KeyArray:
    """Return a 32-bit hash of each id; those of neighbouring integers differ."""
    hashes: KeyArray = (hash_ids_64(ids) * _GOLDEN_RATIO_64) >> np.uint64(32)
    return hashes.astype(np.uint32)


def find_starts(query_ids: Array, last_id: Id | None) -> IntArray:
    """Return the rows whose query id differs from that of the row before.

    Args:
        query_ids: At least one.
        last_id: The id of the row before the first one; None if there is none.
    """
    before, after = query_ids.slice(0, len(query_ids) - 1), query_ids.slice(1)
    starts = np.flatnonzero(pc.not_equal(after, before)) + 1
    return np.append(0, starts) if query_ids[0].as_py() != last_id else starts


def take_ids(ids: Array, places: IntArray) -> list[Id]:
    """Return the ids at some places."""
    taken: Any = ids.take(places)
    values: list[Id] = taken.to_pylist()
    return values


class SeenIds:
    """Finds the second occurrence of an id among millions, in 8 bytes each.

    Two of a million different strings are taken for the same with a probability of 3e-8.
    """

    def __init__(self) -> None:
        self._hashes = SortedRuns()

    def add(self, ids: Sequence[Id]) -> Id | None:
        """Add ids; return the first of them that has occurred before, if there is one."""
        repeated = self._hashes.add_and_mark_repeats(hash_ids_64(ids))
        return ids[int(repeated.argmax())] if repeated.any() else None


def count_queries(read: ReadStarts, hash_ids: HashIds = hash_ids_32) -> int:
    """Return how many queries there are, after a check that the rows of each are adjacent.

    Args:
        read: Reads the ids; called again if two of them have the same hash.
        hash_ids: Hashes ids to 32 bits.

    Raises:
        InputError: if a query begins twice.
    """
    seen, num_queries, repeated = SortedRuns(np.uint32), 0, set[int]()
    for _, ids in read():
        hashes = hash_ids(ids)
        repeated.update(hashes[seen.add_and_mark_repeats(hashes)].tolist())
        num_queries += len(ids)
    if repeated:
        suspects: KeyArray = np.array(sorted(repeated), np.uint64)
        _refuse_repeats(_ids_with_hashes(read, hash_ids, suspects))
    return num_queries


def not_adjacent(file_name: str, query_id: Id) -> InputError:
    """Return the error for a query that comes back after another one."""
    return InputError(
        "the rows of a query are not adjacent",
        which=file_name,
        found=f"query_id {shorten(repr(query_id), 100)} again after another one",
        cure="use --sort-input, or sort the input by query_id, keeping the order within each query",
    )


def _ids_with_hashes(
    read: ReadStarts, hash_ids: HashIds, hashes: KeyArray
) -> Iterator[tuple[str, Id]]:
    for file_name, ids in read():
        for place in np.flatnonzero(np.isin(hash_ids(ids), hashes)).tolist():
            yield file_name, ids[place]


def _refuse_repeats(suspects: Iterable[tuple[str, Id]]) -> None:
    seen = set[Id]()
    for file_name, query_id in suspects:
        if query_id in seen:
            raise not_adjacent(file_name, query_id)
        seen.add(query_id)
