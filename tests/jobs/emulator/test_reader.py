"""What the emulator's model reads of a text, and how long it keeps that."""

from jobs.emulator.reader import Reader
from jobs.emulator.terms import stem
from jobs.emulator.wire_formats import Item

CAP = 4_000


def test_of_a_million_marks_only_the_first_tokens_are_taken_apart() -> None:
    """CPython sorts marks by insertion: it would take hours for all of them."""
    reading = Reader().read(Item("text", "a" + "\u0316\u0301" * 500_000), CAP)

    assert reading.tokens == CAP
    assert len(reading.text) == CAP // 2  # a mark is two tokens
    assert reading.terms == [stem(reading.text)]


def test_the_cache_of_readings_is_bounded() -> None:
    reader = Reader(max_cached_terms=100)
    texts = [f"{n} " * 10 for n in range(30)]

    first = [reader.read(Item("text", text), CAP) for text in texts]
    again = [reader.read(Item("text", text), CAP) for text in texts]

    assert again == first
    assert again[-1] is reader.read(Item("text", texts[-1]), CAP)
    assert sum(len(kept.terms) for kept in reader._cached.values()) == 90
