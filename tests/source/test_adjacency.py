"""Queries whose rows are not adjacent are found, however many ids there are."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.arrays import KeyArray
from pipeline.core.errors import InputError
from pipeline.source.adjacency import SeenIds, count_queries, hash_ids_32

BATCHES = st.lists(st.lists(st.integers(0, 60), max_size=12), max_size=30)


@given(BATCHES, st.booleans())
def test_the_first_id_that_occurs_again_is_returned(
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


@given(
    st.lists(st.lists(st.integers(0, 400), max_size=8), max_size=12),
    st.sampled_from([1, 7, 2**32]),
)
def test_the_first_query_that_comes_back_is_refused_whichever_hashes_are_equal(
    batches: Sequence[Sequence[int]], different_hashes: int
) -> None:
    def read() -> Iterator[tuple[str, Sequence[int]]]:
        return ((f"file {number}", batch) for number, batch in enumerate(batches))

    def hash_ids(ids: Sequence[int]) -> KeyArray:
        return np.array([number % different_hashes for number in ids], np.uint32)

    everything = [(number, query_id) for number, batch in enumerate(batches) for query_id in batch]
    ids = [query_id for _, query_id in everything]
    again = [at for at, query_id in enumerate(ids) if query_id in ids[:at]]
    if again:
        number, query_id = everything[again[0]]
        with pytest.raises(InputError, match=rf"file {number}.*query_id {query_id} again"):
            count_queries(read, hash_ids)
    else:
        assert count_queries(read, hash_ids) == len(ids)


def test_regularly_spaced_integers_have_different_32_bit_hashes() -> None:
    ids = [number << 20 for number in range(100_000)]

    assert len(set(hash_ids_32(ids).tolist())) > 99_990
