"""The kind of a text: the scripts in a sample of it, and its bound a character."""

import pytest

from pipeline.core.content import Video
from pipeline.service.throttle.text_kind import text_kind


def test_a_kind_tells_scripts_and_counted_texts_apart() -> None:
    english, digits, chinese = (
        "It is what it is. " * 80,
        "31415 92653 " * 80,
        "这是一个句子。" * 80,
    )
    kinds = [text_kind([text] * 50, 50 * len(text)) for text in (english, digits, chinese)]

    assert len({*kinds, text_kind([english] * 50, 11 * len(english))}) == 4
    assert text_kind([english] * 7, 7 * len(english)) == kinds[0]
    assert text_kind([Video("http://v.example/1")], 500) == text_kind([], 0)


@pytest.mark.parametrize(
    "characters",
    ["0", " ", "a", "Z", "é", "א", "अ", "か", "的", "한", "🙂", "-"],
)
def test_a_kind_tells_the_share_of_each_script_in_eighths(characters: str) -> None:
    """After the bound of a character, in eighths too; punctuation is what is left."""
    scripts = ["0", " ", "a", "Z", "é", "א", "अ", "か", "的", "한", "🙂"]
    text = "?" * 5 + characters * 11

    kind = text_kind([text], 3 * len(text))

    shares = [round(8 * 11 / 16 + 1e-9) if one == characters else 0 for one in scripts]
    assert list(kind) == [24, *shares]


def test_a_kind_is_that_of_the_middle_of_a_long_text() -> None:
    text = "1" * 100 + "a" * 32 + "1" * 101

    assert text_kind([text], len(text)) == text_kind(["a" * 32], 32)


def test_a_kind_is_that_of_some_32_documents_among_many() -> None:
    """Of 65 documents each third one is sampled."""
    texts = ["1111" if number % 3 else "aaaa" for number in range(65)]

    assert text_kind(texts, 65 * 4) == text_kind(["a"], 1)
    assert text_kind(texts[:32], 32 * 4) != text_kind(["a"], 1)


def test_pictures_among_texts_do_not_change_their_kind() -> None:
    texts = ["a text", Video("http://v.example/1"), "another text"]

    assert text_kind(texts, 18) == text_kind(["a text", "another text"], 18)


def test_a_bound_of_a_character_is_told_up_to_thirty_two() -> None:
    kinds = [text_kind(["a"], tokens) for tokens in (31, 32, 33, 1_000)]

    assert [kind[0] for kind in kinds] == [248, 255, 255, 255]


def test_a_text_that_is_no_valid_unicode_has_a_kind() -> None:
    assert text_kind(["\ud800" * 4], 4) == text_kind(["????"], 4)
    assert text_kind([""], 4) == text_kind([], 4) == b""
