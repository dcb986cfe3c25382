"""A cached counter counts as the counter that it wraps, and asks it seldom."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st
from support.equal_hashes import twins

from pipeline.tokens.count_cache import CachedCounter
from pipeline.tokens.counter import TokenCounter

PLAIN = TokenCounter()
CACHED = CachedCounter(PLAIN)
unhurried = settings(deadline=None)


class CountsCalls(TokenCounter):
    """Notes what is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def count(self, text: str, cap: int | None = None) -> int:
        self.asked.append(text)
        return super().count(text, cap)


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
    wrapped, (one, other) = CountsCalls(), twins()
    counter = CachedCounter(wrapped)

    for text in (one, other, other, one):
        counter.count(text)

    assert wrapped.asked == [one, other]


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
