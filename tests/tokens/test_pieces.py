"""Pieces of a text: cut where tokens certainly end, never too long."""

import re
import sys
import unicodedata

from hypothesis import given
from support.token_texts import ENCODING, TEXTS, ids, many, some

from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.pieces import NEITHER_LETTER_NOR_MARK, PieceSizes, pieces


def test_the_characters_of_safe_cuts_are_neither_letters_nor_marks() -> None:
    allowed = re.compile(f"[{NEITHER_LETTER_NOR_MARK}]")
    found = [c for c in map(chr, range(sys.maxunicode)) if allowed.match(c)]

    assert found
    assert not {c for c in found if unicodedata.category(c)[0] in "LM" or c.isalnum()}
    assert "'" not in found


@many
@given(TEXTS)
def test_the_counts_of_pieces_add_up_to_the_count_of_the_whole(text: str) -> None:
    parts = list(pieces(text, PieceSizes(usual_characters=5, max_characters=10_000)))

    assert "".join(part.text for part in parts) == unicodedata.normalize("NFC", text)
    assert all(part.is_whole for part in parts)
    assert [i for part in parts for i in ENCODING.encode_ordinary(part.text)] == ids(text)


def test_a_safe_cut_between_two_parts_of_the_text_is_found() -> None:
    text = "a" * 8 + "." + "a" * 5

    parts = [part.text for part in pieces(text, PieceSizes(usual_characters=4))]

    assert parts == ["a" * 8, "." + "a" * 5]


@some
@given(TEXTS)
def test_stretches_without_a_safe_cut_are_bounded(text: str) -> None:
    sizes = PieceSizes(usual_characters=3, max_characters=9)

    parts = list(pieces(text, sizes))
    count = TokenCounter(sizes=sizes).count(text)

    assert "".join(part.text for part in parts) == unicodedata.normalize("NFC", text)
    assert all(len(part.text) <= 9 for part in parts if part.is_whole)
    assert count >= len(ids(text))
    if all(part.is_whole for part in parts):
        assert count == len(ids(text))
