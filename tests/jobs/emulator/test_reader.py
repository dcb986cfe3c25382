"""What the emulator's model reads of a text, and how long it keeps that."""

import time

from jobs.emulator.reader import Reader
from jobs.emulator.wire_formats import Item

CAP = 4_000


def test_a_text_of_a_million_marks_is_read_quickly() -> None:
    start = time.perf_counter()

    Reader().read(Item("text", "a" + "\u0316\u0301" * 140_000), CAP)

    assert time.perf_counter() - start < 2


def test_the_cache_of_readings_is_bounded() -> None:
    reader = Reader(max_cached_terms=100)
    texts = [f"{n} " * 10 for n in range(30)]

    first = [reader.read(Item("text", text), CAP) for text in texts]
    again = [reader.read(Item("text", text), CAP) for text in texts]

    assert again == first
    assert again[-1] is reader.read(Item("text", texts[-1]), CAP)
    assert sum(len(kept.terms) for kept in reader._cached.values()) == 90
