"""A stored answer as a row: it comes back as it was saved, or not at all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.score_stores import answer, request, same, scope

from pipeline.core.records import Scores
from pipeline.score_store.rows import (
    SCHEMA,
    Rows,
    StoredAnswer,
    encode,
    encode_in_batches,
    key_bytes,
    prefixes,
)


def stored(number: int, documents: int = 3, *, query: str = "q", saved_at_us: int = 7) -> Any:
    key, scores = request(number).key, answer(number, documents)
    return StoredAnswer(key, scope(query), b"d" * 16 * documents, scores, saved_at_us)


def alike(one: StoredAnswer, other: StoredAnswer) -> bool:
    plain = [(a.key, a.scope, a.document_keys, a.saved_at_us) for a in (one, other)]
    return plain[0] == plain[1] and same(one.scores, other.scores)


def sizes(answers: Sequence[StoredAnswer]) -> list[int]:
    return [batch.num_rows for batch in encode_in_batches(answers)]


# --- Reading ------------------------------------------------------------------------------------


@given(
    documents=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    wanted=st.lists(st.integers(0, 40), min_size=1, max_size=20, unique=True),
    cut=st.integers(0, 4),
)
def test_wanted_rows_come_back_in_their_order_whatever_the_batch_was_cut_from(
    documents: list[int], wanted: list[int], cut: int
) -> None:
    answers = [stored(number, size) for number, size in enumerate(documents)]
    rows = Rows(encode(answers).slice(cut))

    keys = b"".join(request(number).key for number in wanted)
    found = list(rows.find(prefixes(keys)))

    expected = [one for number, one in enumerate(answers) if number in wanted and number >= cut]
    assert [key for key, _, _ in found] == [one.key for one in expected]
    assert all(same(found[2], one.scores) for found, one in zip(found, expected, strict=True))
    assert [saved[0] for _, saved, _ in found] == [7] * len(expected)
    assert rows.verified().tolist() == [True] * rows.batch.num_rows


def test_answers_to_a_query_are_those_saved_before_a_moment() -> None:
    answers = [
        stored(1, saved_at_us=4),
        stored(2, saved_at_us=5),
        stored(3, query="another", saved_at_us=4),
        stored(4, 5, saved_at_us=3),
    ]
    rows = Rows(encode(answers))

    found = list(rows.find_scopes(prefixes(scope("q")), before_us=5))

    assert [one.key for _, one in found] == [answers[0].key, answers[3].key]
    assert alike(found[0][1], answers[0])
    assert alike(found[1][1], answers[3])
    assert [saved for saved, _ in found] == [rows.saved(0), rows.saved(3)]
    assert [rows.saved(row)[0] for row in range(4)] == [4, 5, 4, 3]
    assert rows.scope(2) == scope("another")
    assert rows.scope_prefixes.tolist() == [int.from_bytes(a.scope[:8], "little") for a in answers]


def test_a_prefix_is_the_first_64_bits_of_a_key() -> None:
    keys = bytes(range(24)) + bytes(range(100, 124))

    assert prefixes(keys).tolist() == [
        int.from_bytes(bytes(range(8)), "little"),
        int.from_bytes(bytes(range(100, 108)), "little"),
    ]


def test_a_batch_without_rows_has_no_keys() -> None:
    assert key_bytes(pa.RecordBatch.from_pylist([], schema=SCHEMA)) == b""


def test_an_answer_that_was_read_does_not_keep_its_batch_in_memory() -> None:
    rows = Rows(encode([stored(1), stored(2)]))

    ((_, _, scores),) = rows.find(prefixes(request(1).key))

    assert scores.scores.flags.owndata


def test_scores_of_another_type_and_order_are_stored_as_64_bit_numbers() -> None:
    scores = Scores(np.arange(6, dtype=np.float32)[::-2])
    rows = Rows(encode([replace(stored(1), scores=scores)]))

    ((_, _, read),) = rows.find(prefixes(request(1).key))

    assert read.scores.dtype == np.float64
    assert read.scores.tolist() == [5, 3, 1]


# --- Batches ------------------------------------------------------------------------------------


def test_a_batch_ends_with_the_request_that_exceeds_4096_documents() -> None:
    assert sizes([stored(number, 1_024) for number in range(11)]) == [5, 5, 1]
    assert sizes([stored(number, 1_025) for number in range(9)]) == [4, 4, 1]
    assert sizes([stored(number) for number in range(100)]) == [100]


def test_batches_hold_the_answers_in_their_order() -> None:
    answers = [stored(number, 3_000) for number in range(5)]

    keys = b"".join(key_bytes(batch) for batch in encode_in_batches(answers))

    assert keys == b"".join(one.key for one in answers)


@pytest.mark.parametrize("wrong", ["key", "scope"])
def test_a_key_of_another_length_is_the_callers_mistake(wrong: str) -> None:
    with pytest.raises(ValueError, match="a key is not 24 bytes long"):
        encode([replace(stored(1), **{wrong: b"short"})])


# --- Verifying ----------------------------------------------------------------------------------

SOUND = encode([stored(1), stored(2), stored(3)])
OTHERS = encode(
    [
        stored(1),
        StoredAnswer(
            key=request(9).key,
            scope=scope("another"),
            document_keys=b"e" * 48,
            scores=Scores(np.array([0.5, 0.25, 0.125]), None, "another"),
            saved_at_us=8,
        ),
        stored(3),
    ]
)


@pytest.mark.parametrize("name", SCHEMA.names)
def test_a_row_with_anything_of_another_answer_is_not_served(name: str) -> None:
    place = SCHEMA.get_field_index(name)
    mixed = Rows(SOUND.set_column(place, SCHEMA.field(name), OTHERS.column(name)))

    assert Rows(SOUND).verified().tolist() == Rows(OTHERS).verified().tolist() == [True] * 3
    assert mixed.verified().tolist() == [True, False, True]
    assert [key for key, _, _ in mixed.find(mixed.prefixes)] == [request(1).key, request(3).key]
    scopes = mixed.scope_prefixes
    assert [one.key for _, one in mixed.find_scopes(scopes, 100)] == [
        request(1).key,
        request(3).key,
    ]


def test_bytes_that_move_to_the_next_part_of_an_answer_change_its_checksum() -> None:
    eight = np.frombuffer(b"abcdefgh")
    tokens = int.from_bytes(b"abcdefgh", "little")
    base = StoredAnswer(request(1).key, scope("q"), b"", Scores(eight[:0], None, ""), 7)
    answers = [
        replace(base, document_keys=b"abcdefgh"),
        replace(base, scores=Scores(eight, None, "")),
        replace(base, scores=Scores(eight[:0], tokens, "")),
        replace(base, scores=Scores(eight[:0], None, "abcdefgh")),
    ]
    rows = Rows(encode(answers))

    assert len({rows.saved(row) for row in range(4)}) == 4
    assert rows.verified().all()


@pytest.mark.parametrize("tokens", [None, 0, -(2**63), 2**63 - 1])
def test_every_count_of_tokens_and_none_come_back(tokens: int | None) -> None:
    rows = Rows(encode([replace(stored(1), scores=Scores(np.ones(2), tokens, ""))]))

    ((_, _, read),) = rows.find(rows.prefixes)

    assert read.total_tokens == tokens
