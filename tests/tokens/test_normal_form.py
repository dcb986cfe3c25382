"""The NFC form: in parts, for long runs of marks, and without surrogates."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.token_texts import COUNTER, TEXTS, ids, many

from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.normal_form import INERT, iter_nfc, to_nfc


@many
@given(TEXTS, st.integers(1, 9))
def test_parts_of_the_normal_form_join_to_the_whole(text: str, size: int) -> None:
    assert "".join(iter_nfc(text, size)) == unicodedata.normalize("NFC", text)


def test_inert_characters_are_in_nfc_and_never_combine_with_the_character_before() -> None:
    decompositions = (unicodedata.decomposition(chr(c)).split() for c in range(sys.maxunicode))
    seconds = {
        chr(int(parts[1], 16)) for parts in decompositions if len(parts) == 2 and parts[0][0] != "<"
    }
    seconds |= {chr(c) for c in range(0x1161, 0x1200)}

    for first, last in zip(INERT[::3], INERT[2::3], strict=True):
        for character in map(chr, range(ord(first), ord(last) + 1)):
            decomposed = unicodedata.normalize("NFD", character)
            assert unicodedata.normalize("NFC", character) == character
            assert unicodedata.combining(decomposed[0]) == 0
            assert decomposed[0] not in seconds


@pytest.mark.parametrize(
    "marks", ["\u0301\u0316", "\u0f73", "\u0f71\u0f72\u0344", "\u0316\u0301\u05b0"]
)
def test_long_runs_of_marks_are_normalised_as_short_ones(marks: str) -> None:
    text = "e" + marks * 500

    assert to_nfc(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("start", range(9))
def test_a_long_run_is_put_in_order_wherever_it_begins_in_a_long_text(start: int) -> None:
    text = "x" * start + "e" + "\u0301\u0316" * 16 + "y" * 1_000 + "\u0301" * 20_000

    assert to_nfc(text) == unicodedata.normalize("NFC", text)


def test_a_lone_surrogate_counts_as_a_replacement_character() -> None:
    text = "a\ud800b\udfff\ud83d"

    assert to_nfc(text) == "a\ufffdb\ufffd\ufffd"
    assert COUNTER.count(text) == len(ids("a\ufffdb\ufffd\ufffd"))
    assert TokenCounter(exact=False).count(text) >= COUNTER.count(text)
