"""Queries whose rows are not adjacent are found, however many ids there are."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from pipeline.core.arrays import KeyArray
from pipeline.core.errors import InputError
from pipeline.source.adjacency import (
    SeenIds,
    count_queries,
    find_starts,
    hash_ids_32,
    hash_ids_64,
    take_ids,
)

BATCHES = st.lists(st.lists(st.integers(-30, 30), max_size=12), max_size=30)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.none() | st.integers(0, 3))
def test_a_query_begins_where_its_id_is_another_than_that_of_the_row_before(
    ids: list[int], last_id: int | None
) -> None:
    column = pa.array(ids)

    starts = find_starts(column, last_id)

    rows = [row for row, (before, after) in enumerate(pairwise([last_id, *ids])) if before != after]
    assert starts.tolist() == rows
    assert take_ids(column, starts) == [ids[row] for row in rows]


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

    hashes = hash_ids_32(ids)

    assert len(set(hashes.tolist())) > 99_990
    assert int(hashes.max()).bit_length() == 32
    assert hashes.nbytes == 4 * len(ids)


def test_the_hash_of_64_bits_is_an_integer_itself_or_that_of_a_string() -> None:
    assert hash_ids_64([2**63, -1, 7]).tolist() == [2**63, 2**64 - 1, 7]
    assert hash_ids_64(["é", ""]).tolist() == [
        xxh3_64_intdigest("é".encode()),
        xxh3_64_intdigest(b""),
    ]
    assert hash_ids_64([]).tolist() == []
