"""Counting by words gives the counts of whole texts, whatever stands between the words."""

import threading

from hypothesis import example, given
from hypothesis import strategies as st
from support.token_texts import COUNTER, TEXTS, some

from pipeline.tokens.word_counter import MAX_CHARACTERS, WordCounter

SEPARATORS = [" ", "  ", "   ", "\t ", " \t", "\n ", " \n", "\n \n", "\r\n ", "\u00a0 ", "\u3000 "]
WORDS = [
    "word",
    "don't",
    "'s",
    "7",
    "3.14",
    "...",
    "e\u0301",
    "\u0301x",
    "漢字",
    "é",
    "🙂",
    "-",
    "",
    "ß",
]
SPACED = st.lists(st.sampled_from(SEPARATORS + WORDS), max_size=12).map("".join)


def counted_whole(texts: list[str]) -> list[int]:
    return [COUNTER.count(text) for text in texts]


@some
@given(st.lists(SPACED | TEXTS, max_size=20))
@example(["a  b", "a\n b", "a \n b", " a", "a ", "", " ", "  "])
def test_words_add_up_to_the_text(texts: list[str]) -> None:
    counter = WordCounter(COUNTER.count)

    assert counter.counts(texts).tolist() == counted_whole(texts)
    assert counter.counts(texts[::-1]).tolist() == counted_whole(texts[::-1])


def test_a_word_that_comes_again_is_not_counted_again() -> None:
    asked = list[str]()

    def count(text: str) -> int:
        asked.append(text)
        return COUNTER.count(text)

    counter = WordCounter(count)
    counter.counts(["the cat saw the dog", "the dog saw the cat"])
    counter.counts(["the cat and the dog"])

    assert sorted(asked) == sorted(["the", " cat", " saw", " the", " dog", " and"])


def test_a_long_word_is_not_kept_since_it_hardly_comes_again() -> None:
    asked = list[str]()

    def count(text: str) -> int:
        asked.append(text)
        return COUNTER.count(text)

    counter, kept, long = WordCounter(count), "x" * 64, "y" * 65
    for _ in range(2):
        counter.counts([kept, long])

    assert asked == [kept, long, long]
    assert counter.num_known == 1


def test_a_word_at_the_start_of_a_text_is_told_apart_from_one_after_a_blank() -> None:
    texts = ["Zürich Zürich", "Zürich", "in Zürich"]

    assert WordCounter(COUNTER.count).counts(texts).tolist() == counted_whole(texts)


def test_a_long_text_is_counted_as_by_itself() -> None:
    without_cuts = "=" * (MAX_CHARACTERS + 1)
    texts = [f"{without_cuts} a", f"a {without_cuts}"]

    assert WordCounter(COUNTER.count).counts(texts).tolist() == counted_whole(texts)


def test_the_memory_of_words_is_bounded() -> None:
    counter = WordCounter(len, max_words=10)

    for number in range(100):
        counter.counts([f"{number} {number}"])
        assert counter.num_known <= 10


def test_threads_may_count_at_once() -> None:
    counter, wrong = WordCounter(COUNTER.count, max_words=50), list[int]()
    texts = [f"word{number} and {number % 7} others" for number in range(200)]
    expected = counted_whole(texts)

    def count_all(first: int) -> None:
        turned = texts[first:] + texts[:first]
        if counter.counts(turned).tolist() != expected[first:] + expected[:first]:
            wrong.append(first)

    threads = [threading.Thread(target=count_all, args=(50 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
