"""Sorted arrays that are merged now and then: they find what was added, and stay small and few."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import sorted_runs
from pipeline.score_store.key_index import SortedPrefixes
from pipeline.sorted_runs import MAX_SHARE, worth_merging
from pipeline.source.seen_ids import SeenIds

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


@given(BATCHES, st.lists(st.integers(0, 60), max_size=20))
def test_every_number_that_was_added_with_a_prefix_is_found(
    batches: Sequence[Sequence[int]], wanted: Sequence[int]
) -> None:
    index, added = SortedPrefixes(), list[tuple[int, int]]()
    for number, batch in enumerate(batches):
        index.add(np.array(batch, np.uint64), np.full(len(batch), number, np.int32))
        added += [(prefix, number) for prefix in batch]

    positions, numbers = index.find(np.array(wanted, np.uint64))

    found = sorted(zip(positions.tolist(), numbers.tolist(), strict=True))
    expected = [(at, n) for at, want in enumerate(wanted) for prefix, n in added if prefix == want]
    assert found == sorted(expected)
    assert len(index) == len(added)


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
    assert most_runs < 60
