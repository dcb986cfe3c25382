"""The index of stored keys: every key is found where it lies, others hardly ever anywhere."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.sorted_runs import RunSizes
from pipeline.score_store.key_index import FewKeys, IndexLimits, KeyIndex, ManyKeys, Place

NUMBERS = st.integers(0, 40)


SMALL = IndexLimits(max_batches=10, many_keys=5, run_sizes=RunSizes(always_merged=8))
"""Runs are large from a few keys on, and hold few batches."""


def prefixes(numbers: Sequence[int], tail: int = 0) -> np.ndarray:
    """Keys that differ in their first bits, and other bits behind."""
    return np.array([(number << 50) + tail for number in numbers], np.uint64)


def place(batch: int) -> Place:
    """Three batches are a segment."""
    return Place(f"segment-{batch // 3:03d}", 100 * (batch % 3), 99)


@given(st.lists(st.lists(NUMBERS, max_size=6), max_size=40), st.lists(NUMBERS, max_size=9))
def test_every_key_is_found_in_all_batches_that_have_it_in_order(
    batches: Sequence[Sequence[int]], wanted: Sequence[int]
) -> None:
    index = KeyIndex(SMALL)
    for number, batch in enumerate(batches):
        index.add(place(number), prefixes(batch))

    found = index.find(prefixes(wanted))

    assert list(found) == sorted(found)
    assert {at: set(positions) for at, positions in found.items()} == {
        place(number): {at for at, key in enumerate(wanted) if key in batch}
        for number, batch in enumerate(batches)
        if set(batch) & set(wanted)
    }
    assert len(index) == sum(map(len, batches))


def test_keys_that_differ_in_their_first_29_bits_are_told_apart() -> None:
    index = KeyIndex()
    index.add(place(0), np.array([1 << 35, 5 << 35], np.uint64))

    assert index.find(np.array([2 << 35, 3 << 62], np.uint64)) == {}
    assert index.find(np.array([2 << 35, (5 << 35) + 7], np.uint64)) == {place(0): [1]}


def test_a_key_is_found_however_many_batches_came_before_its_own() -> None:
    """More than can be numbered in 16 bits; the last one is large, and joined with all others."""
    index = KeyIndex(IndexLimits(run_sizes=RunSizes(always_merged=1 << 20)))
    many = 65_600
    stored = np.arange(2 * many, dtype=np.uint64) << np.uint64(40)
    for number in range(many):
        index.add(Place("segment", number, 99), stored[number : number + 1])
    index.add(Place("segment", many, 99), stored[many:])

    for number in (*range(0, many, 997), *range(many - 100, many + 10)):
        place = Place("segment", min(number, many), 99)
        assert index.find(stored[number : number + 1]) == {place: [0]}


def test_keys_that_differ_in_their_29th_bit_alone_are_told_apart() -> None:
    index = KeyIndex()
    index.add(place(0), np.array([2 << 35], np.uint64))

    assert index.find(np.array([3 << 35, 2 << 35], np.uint64)) == {place(0): [1]}


@given(st.lists(st.integers(0, 2**29 - 1)), st.lists(st.integers(0, 2**29 - 1)))
def test_many_keys_are_the_same_keys(some: Sequence[int], others: Sequence[int]) -> None:
    keys = np.sort(np.array(some, np.uint32))
    wanted = np.array([*some[::2], *others], np.uint32)
    few, many = FewKeys(keys), ManyKeys.of(keys)

    assert many.numbers().tolist() == few.numbers().tolist() == sorted(some)
    for found in (few, many):
        pairs = set(zip(*map(np.ndarray.tolist, found.find(wanted)), strict=True))
        assert pairs == {
            (position, place)
            for position, number in enumerate(wanted.tolist())
            for place, key in enumerate(sorted(some))
            if key == number
        }
