"""Passages of long documents."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.passages import LEAST_MAX_TOKENS, split_passages

COUNTER = TokenCounter()
BOUNDS = TokenCounter(exact=False)

WORDS = st.sampled_from(
    ["word", "naïve", "模型", "\U0001d160" * 5, "x" * 90, "e\u0301", "😀", "", "42"]
)
SPACES = st.sampled_from([" ", "\n", "\n\n", ". ", "。", ", ", "", "\t"])
TEXTS = st.lists(st.one_of(WORDS, SPACES, st.text(max_size=5)), max_size=300).map("".join)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(TEXTS, st.integers(LEAST_MAX_TOKENS, 80))
def test_passages_cover_the_text_and_none_is_too_long(text: str, max_tokens: int) -> None:
    for counter in (COUNTER, BOUNDS):
        passages = split_passages(text, counter, max_tokens)

        assert "".join(passages) == text
        assert all(counter.count(passage) <= max_tokens for passage in passages)
        assert text == "" or all(passages)
        assert passages == split_passages(text, counter, max_tokens)


@pytest.mark.parametrize("text", ["", "short text", "exactly " * 10 + "so"])
def test_a_text_within_the_limit_is_one_passage(text: str) -> None:
    assert split_passages(text, COUNTER, max(COUNTER.count(text), LEAST_MAX_TOKENS)) == [text]


def test_passages_end_where_paragraphs_end() -> None:
    paragraphs = [f"Paragraph {n}. " + "It has some sentences. " * 12 + "\n\n" for n in range(40)]

    passages = split_passages("".join(paragraphs), COUNTER, 600)

    assert all(passage.endswith("\n\n") for passage in passages)


def test_without_paragraphs_passages_end_where_sentences_end() -> None:
    assert all(
        passage.endswith(". ")
        for passage in split_passages("A sentence, with a clause. " * 400, COUNTER, 200)
    )
    assert all(
        passage.endswith("。") for passage in split_passages("模型，需要数据。" * 400, COUNTER, 200)
    )


def test_without_sentences_passages_end_where_words_end() -> None:
    assert all(
        passage.endswith(" ") for passage in split_passages("many words " * 400, COUNTER, 100)
    )


@pytest.mark.parametrize("unit", ["A sentence, with a clause. ", "模型", "word\n\n", "x", "\0"])
@pytest.mark.parametrize("max_tokens", [100, 333, 1_000])
def test_passages_are_about_equally_long(unit: str, max_tokens: int) -> None:
    counts = [COUNTER.count(p) for p in split_passages(unit * 5_000, COUNTER, max_tokens)]

    assert min(counts) >= 0.4 * max(counts)


def test_a_part_of_more_tokens_per_character_is_split_further() -> None:
    text = "thin text of common words. " * 200 + "\U0001d160" * 300

    passages = split_passages(text, COUNTER, 100)

    assert "".join(passages) == text
    assert all(COUNTER.count(passage) <= 100 for passage in passages)


def test_a_limit_too_low_for_one_character_is_refused() -> None:
    with pytest.raises(ValueError, match="max_tokens is 15, expected 16 or more"):
        split_passages("text", COUNTER, 15)
