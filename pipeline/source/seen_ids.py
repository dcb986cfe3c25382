"""Which query ids have occurred, in 8 bytes each."""

from collections.abc import Sequence

import numpy as np
import xxhash

from pipeline.arrays import KeyArray
from pipeline.groups import Id
from pipeline.sorted_runs import worth_merging


class SeenIds:
    """Finds the second occurrence of an id among millions.

    Ids are kept as 64-bit numbers (integers as they are, strings by their xxh3 hash) in a few
    sorted arrays: a million ids take 8 MB, and a fraction of it more for the moment of a merge.
    Two of a million different strings are taken for the same with a probability of 3e-8.
    """

    def __init__(self) -> None:
        self._runs: list[KeyArray] = []
        self._total = 0

    def add(self, ids: Sequence[Id]) -> Id | None:
        """Add ids; return the first of them that has occurred before, if there is one."""
        keys = _keys(ids)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        again = np.zeros(len(ids), np.bool_)
        again[order[1:]] = ordered[1:] == ordered[:-1]
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, ordered), len(run) - 1)
            again[order] |= run[places] == ordered
        self._merge(ordered)
        return ids[int(again.argmax())] if again.any() else None

    def _merge(self, run: KeyArray) -> None:
        self._total += len(run)
        while self._runs and worth_merging(len(self._runs[-1]), len(run), self._total):
            run = np.concatenate([self._runs.pop(), run])
            run.sort(kind="stable")
        if len(run):
            self._runs.append(run)


def _keys(ids: Sequence[Id]) -> KeyArray:
    if ids and isinstance(ids[0], int):
        return np.array([int(number) % 2**64 for number in ids], np.uint64)
    hashes = (xxhash.xxh3_64_intdigest(str(text).encode()) for text in ids)
    return np.fromiter(hashes, np.uint64, len(ids))
