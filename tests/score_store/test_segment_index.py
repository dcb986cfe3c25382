"""What a segment says of its batches."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from support.score_stores import answer, keys, request

from pipeline.score_store.rows import SCHEMA, StoredAnswer, encode
from pipeline.score_store.segment_index import BatchFacts, SegmentIndex


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-(2**62), 2**62)), max_size=6))
def test_the_contents_of_a_segment_are_read_as_they_were_written(
    batches: list[tuple[int, int]],
) -> None:
    contents, added = SegmentIndex(), []
    for num_keys, number in batches:
        facts = BatchFacts(number, number + 1, bytes(range(24)) * num_keys, num_keys, 7, number)
        contents.add(facts)
        added.append(facts)

    read = SegmentIndex.from_bytes(contents.to_bytes().to_pybytes())

    assert list(read) == list(contents) == added
    assert len(read) == len(added)


def test_the_facts_of_a_batch_are_those_of_its_rows() -> None:
    asked = [request(number) for number in range(4)]
    batch = encode(
        [
            StoredAnswer(one.key, one.scope, b"", answer(number, 5 - number), time_us)
            for number, (one, time_us) in enumerate(zip(asked, (1, 30, 10, 20), strict=True))
        ]
    )

    facts = BatchFacts.of(100, 7, batch.slice(1))

    assert (facts.offset, facts.size, facts.num_requests) == (100, 7, 3)
    assert list(facts.iter_keys()) == keys([1, 2, 3])
    assert (facts.documents, facts.oldest_us, facts.newest_us) == (4 + 3 + 2, 10, 30)


def test_a_batch_without_rows_is_neither_old_nor_new() -> None:
    facts = BatchFacts.of(0, 7, pa.RecordBatch.from_pylist([], schema=SCHEMA))

    assert (facts.num_requests, list(facts.iter_keys()), facts.documents) == (0, [], 0)
    assert (facts.oldest_us, facts.newest_us) == (2**62, 0)
