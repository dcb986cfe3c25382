"""Terms of texts in many scripts."""

import pytest

from jobs.emulator.terms import stem, words


@pytest.mark.parametrize(
    "forms",
    [
        ["battery", "batteries", "Battery's"],
        ["delivery", "ＤＥＬＩＶＥＲＩＥＳ"],
        ["الكتاب", "كتاب", "والكتاب", "بالكتاب", "للكتاب", "الكِتَاب", "الكتـاب"],
        ["مكتبة", "المكتبه"],
    ],
)
def test_inflected_forms_of_a_word_match(forms: list[str]) -> None:
    assert len({stem(words(form)[0]) for form in forms}) == 1


def test_marks_belong_to_their_word_and_full_stops_do_not() -> None:
    assert words("चलती है।") == ["चलती", "है"]
    assert words("الشِتَاء") == ["الشِتَاء"]
    assert words("snake_case, x-ray 42") == ["snake", "case", "x", "ray", "42"]


def test_scripts_without_blanks_become_pairs() -> None:
    assert words("电池寿命USB") == ["电池", "池寿", "寿命", "usb"]
    assert words("冬 pin") == ["冬", "pin"]
