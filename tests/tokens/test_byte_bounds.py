"""Bounds by bytes: sound for every text, and the same in every batch."""

import unicodedata
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.token_texts import TEXTS, ids, many, some

from pipeline.tokens.byte_bounds import GROWING, byte_bound, byte_bounds

CODES = [*range(0x80, 0xD800), *range(0xE000, 0x110000)]
PREFIXES = tuple(map(bytes.fromhex, GROWING))


def bounds_of(texts: list[str | None]) -> list[int]:
    return byte_bounds(pa.array(texts, pa.large_string())).tolist()


def num_bytes(text: str) -> int:
    return len(text.encode())


def may_grow(text: str) -> bool:
    return any(character.encode().startswith(PREFIXES) for character in text)


def grown(text: str) -> int:
    """Return by how many bytes a text is longer in normal form C."""
    return num_bytes(unicodedata.normalize("NFC", text)) - num_bytes(text)


@many
@given(TEXTS)
@example("\U0001d160")
@example("\u00c1\u0323")
@example("क़")
def test_a_bound_is_never_below_the_count(text: str) -> None:
    assert bounds_of([text])[0] >= len(ids(text))


@some
@given(st.lists(TEXTS, max_size=12), st.lists(TEXTS, max_size=3))
def test_bounds_of_many_texts_are_those_of_each(texts: list[str], before: list[str]) -> None:
    column = pa.array([*before, *texts], pa.large_string()).slice(len(before))

    assert byte_bounds(column).tolist() == [bounds_of([text])[0] for text in texts]


@pytest.mark.parametrize("place", range(4))
def test_a_text_that_may_grow_has_thrice_its_bytes_and_no_other_has(place: int) -> None:
    texts = ["中文", "ASCII", "é", "x"]
    plain = bounds_of(texts)
    texts[place] += "\u0301"

    found = bounds_of(texts)

    assert plain == [6, 5, 2, 1]
    assert found == [
        3 * num_bytes(text) if at == place else plain[at] for at, text in enumerate(texts)
    ]


def test_characters_that_grow_alone_are_known() -> None:
    growing = [chr(code) for code in CODES if grown(chr(code)) > 0]

    assert len(growing) >= 92
    assert all(map(may_grow, growing))


def test_marks_that_let_a_character_grow_are_known() -> None:
    decomposable = [chr(code) for code in CODES if unicodedata.decomposition(chr(code))]
    composed = [one for one in decomposable if unicodedata.normalize("NFD", one) != one]
    marks = {mark for one in composed for mark in unicodedata.normalize("NFD", one)[1:]}
    marks |= {chr(code) for code in CODES if unicodedata.combining(chr(code))}
    quiet = sorted(mark for mark in marks if not may_grow(mark))
    bases = [one for one in composed if not may_grow(one)]

    assert len(quiet) > 300
    assert not [pair for pair in product(bases, quiet) if grown("".join(pair)) > 0]


def test_null_and_empty_texts_have_no_tokens() -> None:
    assert bounds_of([None, "", "a", None, "é"]) == [0, 0, 1, 0, 2]
    assert bounds_of([]) == []


def test_a_column_without_memory_has_no_bounds() -> None:
    assert byte_bounds(pa.nulls(0, pa.large_string())).dtype == np.int64


@many
@given(st.text(max_size=20))
def test_the_bound_of_one_text_is_by_its_bytes_unless_its_normal_form_differs(text: str) -> None:
    bound = byte_bound(text)

    assert (bound is None) == (unicodedata.normalize("NFC", text) != text)
    assert bound is None or bound >= len(ids(text))
