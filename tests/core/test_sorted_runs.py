"""Sorted runs find what was added, stay few, and none is a large share of all."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.sorted_runs import RUN_SIZES, RunSizes, SortedRuns, in_own_memory

unhurried = settings(deadline=None)

BATCHES = st.lists(st.lists(st.integers(0, 60), max_size=12), max_size=30)


@unhurried
@given(BATCHES)
def test_repeats_are_marked_whatever_was_added_between(batches: Sequence[Sequence[int]]) -> None:
    runs = SortedRuns(np.uint32, sizes=RunSizes(always_merged=8), own_memory_length=4)
    before = list[int]()
    for batch in batches:
        repeats = runs.add_and_mark_repeats(np.array(batch, np.uint64))

        everything = before + list(batch)
        assert repeats.tolist() == [
            number in everything[: len(before) + index] for index, number in enumerate(batch)
        ]
        before = everything
    assert len(runs) == len(before)


def test_runs_are_few_and_none_is_a_large_share_of_all() -> None:
    runs, total, most_runs = list[int](), 0, 0
    for _ in range(10_000_000 // 800):
        runs.append(800)
        total += 800
        while len(runs) > 1 and RUN_SIZES.merges(runs[-2], runs[-1], total):
            runs[-2:] = [sum(runs[-2:])]
            assert runs[-1] <= max(1 << 16, total // 16)
        most_runs = max(most_runs, len(runs))

    assert total == sum(runs)
    assert most_runs < 100


def test_a_long_array_is_copied_to_memory_of_its_own() -> None:
    numbers = np.arange(10, dtype=np.uint16)

    copy = in_own_memory(numbers, min_length=10)

    assert copy.tolist() == numbers.tolist()
    assert not np.shares_memory(copy, numbers)
    assert in_own_memory(numbers, min_length=11) is numbers
