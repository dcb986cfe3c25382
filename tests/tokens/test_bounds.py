"""Upper bounds: sound for every text, the same in every batch and Arrow layout."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.derive_bound import AFTER_BLANK_SHA256, WEIGHTS_SHA256, derive_table, digests
from support.token_texts import RANKS, TEXTS, ids, many, some

from pipeline.tokens.bounds import bound_table, upper_bound, upper_bounds
from pipeline.tokens.normal_form import to_nfc


def test_the_checked_in_table_is_the_known_one() -> None:
    assert digests(bound_table()) == (WEIGHTS_SHA256, AFTER_BLANK_SHA256)


def test_the_table_derived_anew_equals_the_checked_in_one() -> None:
    derived = derive_table(RANKS)

    for part, known in zip(derived, bound_table(), strict=True):
        np.testing.assert_array_equal(part, known)


@many
@given(TEXTS)
@example("\U0001d160")
@example(" " + chr(0x4E00) * 3)
def test_a_bound_is_never_below_the_count(text: str) -> None:
    assert upper_bound(text) >= len(ids(text))


@pytest.mark.parametrize("before", ["", " ", "a", "실", "오"])
def test_every_character_is_bounded_after_any_character(before: str) -> None:
    basic_plane = [*range(0xD800), *range(0xE000, 0x10000)]
    codes = [*basic_plane[:: 1 if before == " " else 7], *range(0x10000, 0x110000, 101)]
    texts = [before + chr(code) for code in codes]

    weights = upper_bounds(pa.array(texts))

    assert (weights >= [len(ids(text)) for text in texts]).all()


@some
@given(st.lists(st.none() | TEXTS, max_size=12))
def test_bounds_of_many_texts_are_those_of_each(texts: list[str | None]) -> None:
    alone = [0 if text is None else upper_bound(text) for text in texts]

    by_parts = upper_bounds(pa.array(texts, pa.string()), part_bytes=64)
    together = upper_bounds(pa.array(texts, pa.string()))

    assert together.dtype == np.int64
    assert together.tolist() == by_parts.tolist() == alone


def test_a_bound_does_not_depend_on_the_text_before() -> None:
    characters = [chr(c) for c in range(0x80, 0xD800, 13)]
    texts = [text for character in characters for text in ("é ", character)]

    together = upper_bounds(pa.array(texts))

    assert together[1::2].tolist() == [upper_bound(to_nfc(c)) for c in characters]


@pytest.mark.parametrize(
    "type_",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
)
def test_bounds_are_the_same_for_every_arrow_layout(type_: pa.DataType) -> None:
    texts = ["é", "", None, "plain", "模型 和数据", "😀 e\u0301", None, "실수"]
    array = pa.array(texts, pa.string()).cast(type_)
    expected = [0 if text is None else upper_bound(text) for text in texts]

    assert upper_bounds(array).tolist() == expected
    assert upper_bounds(array[3:7]).tolist() == expected[3:7]
    assert upper_bounds(array[4:4]).tolist() == []
    chunked = pa.chunked_array([array[1:3], array[:0], array[5:]])
    assert upper_bounds(chunked).tolist() == expected[1:3] + expected[5:]


def test_an_array_of_nulls_has_no_tokens() -> None:
    assert upper_bounds(pa.nulls(3)).tolist() == [0, 0, 0]
    assert upper_bounds(pa.chunked_array([], pa.string())).tolist() == []
