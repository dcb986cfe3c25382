"""A cached counter counts as the counter that it wraps, and asks it seldom."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.equal_hashes import twins

from pipeline.tokens.count_cache import CachedCounter
from pipeline.tokens.counter import TokenCounter

PLAIN = TokenCounter()
CACHED = CachedCounter(PLAIN)
unhurried = settings(deadline=None)


caps = st.none() | st.integers(0, 12)


class RecordingCounter(TokenCounter):
    """Keeps the texts that it counted."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[str] = []

    def count(self, text: str, cap: int | None = None) -> int:
        self.counted.append(text)
        return super().count(text, cap)


@unhurried
@given(st.lists(st.tuples(st.text("ab \n漢", max_size=9), caps), max_size=20))
def test_counts_are_those_of_the_wrapped_counter_whatever_was_counted_before(asked):
    for text, cap in asked:
        assert CACHED.count(text, cap) == PLAIN.count(text, cap)


def test_a_text_that_comes_again_is_not_counted_again():
    wrapped = RecordingCounter()

    counts = CachedCounter(wrapped).counts(["one text", "another", "one text", "one text"])

    assert wrapped.counted == ["one text", "another"]
    assert counts.tolist() == PLAIN.counts(["one text", "another", "one text", "one text"]).tolist()


LISTS = st.lists(st.text("ab \n漢", max_size=9), max_size=40)


@unhurried
@given(LISTS, caps)
def test_texts_together_have_the_counts_of_the_wrapped_counter(texts, cap):
    expected = PLAIN.counts(texts, cap).tolist()

    assert CachedCounter(PLAIN).counts(texts, cap).tolist() == expected
    assert CACHED.counts(texts, cap).tolist() == expected
    assert [CACHED.count(text, cap) for text in texts] == expected


def test_of_many_texts_none_is_counted_again_one_by_one_or_together():
    texts, others = ([f"{kind} {number}" for number in range(16)] for kind in ("text", "other"))
    wrapped = RecordingCounter()
    cached = CachedCounter(wrapped)
    cached.counts(texts)
    for text in others:
        cached.count(text)
    asked = len(wrapped.counted)

    cached.counts([*texts, *others])
    for text in texts:
        cached.count(text)

    assert len(wrapped.counted) == asked


def test_many_texts_are_counted_by_their_words_and_few_one_by_one():
    for number, expected in ((15, 15), (16, 4 + 4)):
        wrapped = RecordingCounter()
        texts = [f"word{index % 4} word{index // 4}" for index in range(number)]

        CachedCounter(wrapped).counts(texts)

        assert len(wrapped.counted) == expected


def test_many_texts_are_bounded_without_the_vocabulary():
    texts = [f"some words and {number}" for number in range(20)]

    counts = CachedCounter(TokenCounter(exact=False)).counts(texts)

    assert counts.tolist() == [len(text) for text in texts]


@pytest.mark.parametrize(("tokens", "times"), [(2**18 - 1, 1), (2**18, 3), (2**18 + 5, 3)])
def test_a_count_of_more_than_a_slot_holds_is_not_kept(tokens, times):
    class Large(RecordingCounter):
        def count(self, text: str, cap: int | None = None) -> int:
            super().count(text, cap)
            return tokens

    wrapped, texts = Large(), [f"{number}" for number in range(16)]
    cached = CachedCounter(wrapped)

    assert cached.counts(texts).tolist() == [tokens] * 16
    assert [cached.count(text) for _ in range(2) for text in texts] == [tokens] * 32
    assert wrapped.counted == texts * times
    one = CachedCounter(wrapped)
    assert [one.count("text") for _ in range(3)] == [tokens] * 3
    assert wrapped.counted.count("text") == times


def test_all_but_counts_is_passed_on():
    text = "a longer text with some words"

    for counter in (PLAIN, TokenCounter(exact=False)):
        cached = CachedCounter(counter)
        assert cached.exact_available == counter.exact_available
        assert cached.truncate(text, 3) == counter.truncate(text, 3)


def test_a_count_that_met_its_cap_is_not_taken_for_the_whole_count():
    counter = CachedCounter()

    assert counter.count("a b c d e", 3) == 3
    assert counter.count("a b c d e") == 5
    assert counter.count("a b c d e", 3) == 3


def test_texts_that_share_a_slot_are_told_apart():
    first: dict[int, str] = {}
    for number in range(5_000):
        text = "word " * (1 + number % 7) + str(number)
        other = first.setdefault(hash(text) % 2**18, text)
        if other != text and PLAIN.count(other) != PLAIN.count(text):
            break
    else:
        raise AssertionError("no two texts share a slot")
    counter = CachedCounter()

    for asked in (text, other, text, text):
        assert counter.count(asked) == PLAIN.count(asked)


def test_texts_made_to_have_one_hash_have_their_own_counts():
    """As whoever writes documents can make them for a hash without a secret."""
    wrapped, (one, other) = RecordingCounter(), twins()
    counter = CachedCounter(wrapped)

    for text in (one, other, other, one):
        counter.count(text)

    assert wrapped.counted == [one, other]


def test_threads_may_count_at_once():
    counter, wrong = CachedCounter(), []
    texts = {f"{number} " * (number % 9 + 1): None for number in range(400)}
    expected = {text: PLAIN.count(text) for text in texts}

    def count_all() -> None:
        wrong.extend(text for text in texts if counter.count(text) != expected[text])

    threads = [threading.Thread(target=count_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
