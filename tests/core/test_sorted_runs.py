"""Sorted arrays that are merged now and then: they find what was added, and stay small and few."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import sorted_runs
from pipeline.core.arrays import KeyArray
from pipeline.core.errors import InputError
from pipeline.core.sorted_runs import MAX_SHARE, SortedRuns, worth_merging
from pipeline.source import adjacency
from pipeline.source.adjacency import SeenIds, count_whole_queries

BATCHES = st.lists(st.lists(st.integers(0, 60), max_size=12), max_size=30)


@pytest.fixture(autouse=True, scope="module")
def small_runs() -> Iterator[None]:
    """Runs are held apart from a few keys on, as they are from many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_runs, "ALWAYS_MERGED", 8)
        yield


@given(BATCHES, st.booleans())
def test_an_id_that_comes_twice_is_found_whatever_lies_between(
    batches: Sequence[Sequence[int]], as_text: bool
) -> None:
    seen, before = SeenIds(), set[int]()
    for batch in batches:
        ids = list(dict.fromkeys(batch))
        again = seen.add([str(number) for number in ids] if as_text else ids)

        repeated = [number for number in ids if number in before]
        assert (again is None) == (not repeated)
        assert not repeated or int(again or 0) == repeated[0]
        before.update(ids)


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


@given(
    st.lists(st.lists(st.integers(0, 400), max_size=8), max_size=12),
    st.sampled_from([1, 7, 2**32]),
)
def test_the_first_query_that_comes_back_is_refused_whatever_ids_look_alike(
    batches: Sequence[Sequence[int]], different_keys: int
) -> None:
    def read() -> Iterator[tuple[str, Sequence[int]]]:
        return ((f"file {number}", batch) for number, batch in enumerate(batches))

    def short_keys(ids: Sequence[int]) -> KeyArray:
        return np.array([number % different_keys for number in ids], np.uint32)

    everything = [(number, query_id) for number, batch in enumerate(batches) for query_id in batch]
    ids = [query_id for _, query_id in everything]
    again = [at for at, query_id in enumerate(ids) if query_id in ids[:at]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adjacency, "_short_keys", short_keys)
        if again:
            number, query_id = everything[again[0]]
            with pytest.raises(InputError, match=rf"file {number}.*query_id {query_id} again"):
                count_whole_queries(read)
        else:
            assert count_whole_queries(read) == len(ids)


def test_neighbouring_numbers_have_short_keys_that_differ() -> None:
    ids = [number << 20 for number in range(100_000)]

    assert len(set(adjacency._short_keys(ids).tolist())) > 99_990


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
