"""Sorted arrays that are merged now and then: they find what was added, and stay small and few."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import sorted_runs
from pipeline.core.sorted_runs import MAX_SHARE, SortedRuns, worth_merging

BATCHES = st.lists(st.lists(st.integers(0, 60), max_size=12), max_size=30)


@pytest.fixture(autouse=True, scope="module")
def small_runs() -> Iterator[None]:
    """Runs are held apart from a few keys on, as they are from many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_runs, "ALWAYS_MERGED", 8)
        yield


@given(BATCHES)
def test_what_has_occurred_before_is_told_of_every_number(batches: Sequence[Sequence[int]]) -> None:
    runs, before = SortedRuns(np.uint32), list[int]()
    for batch in batches:
        told = runs.add_and_tell(np.array(batch, np.uint64))

        everything = before + list(batch)
        assert told.tolist() == [
            number in everything[: len(before) + place] for place, number in enumerate(batch)
        ]
        before = everything


def test_runs_are_few_and_none_is_a_large_share_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_runs, "ALWAYS_MERGED", 1 << 16)
    runs, total, most_runs = list[int](), 0, 0
    for _ in range(10_000_000 // 800):
        runs.append(800)
        total += 800
        while len(runs) > 1 and worth_merging(runs[-2], runs[-1], total):
            runs[-2:] = [sum(runs[-2:])]
            assert runs[-1] <= max(1 << 16, total // MAX_SHARE)
        most_runs = max(most_runs, len(runs))

    assert total == sum(runs)
    assert most_runs < 100
