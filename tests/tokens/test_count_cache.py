import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tokens.count_cache import RememberingCounter
from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.measures import text_key

PLAIN, REMEMBERING = TokenCounter(), RememberingCounter()
unhurried = settings(deadline=None)
caps = st.none() | st.integers(0, 12)


@unhurried
@given(st.lists(st.tuples(st.text("ab \n漢", max_size=9), caps), max_size=20))
def test_counts_are_those_of_the_plain_counter_whatever_was_counted_before(asked):
    for text, cap in asked:
        assert REMEMBERING.count(text, cap) == PLAIN.count(text, cap)


def test_a_text_that_comes_again_is_not_tokenised_again(monkeypatch):
    counter, encoded = RememberingCounter(), []
    encode = TokenCounter._encode
    monkeypatch.setattr(
        TokenCounter, "_encode", lambda self, text: encoded.append(text) or encode(self, text)
    )

    counts = [counter.count(text) for text in ("one text", "another", "one text", "one text")]

    assert encoded == ["one text", "another"]
    assert counts[0] == counts[2] == counts[3]


def test_a_count_that_met_its_cap_is_not_taken_for_the_whole_count():
    counter = RememberingCounter()

    assert counter.count("a b c d e", 3) == 3
    assert counter.count("a b c d e") == 5
    assert counter.count("a b c d e", 3) == 3


def test_texts_that_share_a_place_are_told_apart():
    first: dict[int, str] = {}
    for number in range(5_000):
        text = "word " * (1 + number % 7) + str(number)
        other = first.setdefault(text_key(text) % 2**18, text)
        if other != text and PLAIN.count(other) != PLAIN.count(text):
            break
    else:
        raise AssertionError("no two texts share a place")
    counter = RememberingCounter()

    for asked in (text, other, text, text):
        assert counter.count(asked) == PLAIN.count(asked)


def test_threads_may_count_at_once():
    counter, wrong = RememberingCounter(), []
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
