"""Exact counts and truncation, and bounds where the vocabulary is missing."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.token_texts import COUNTER, TEXTS, ids, many, some

from pipeline.tokens.bounds import upper_bound
from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.normal_form import to_nfc
from pipeline.tokens.pieces import PIECE_SIZES, PieceSizes
from pipeline.tokens.settling import settle

SMALL_PIECES = TokenCounter(sizes=PieceSizes(usual_characters=20))


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
