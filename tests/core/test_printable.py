"""Texts of others are made printable."""

import json

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import RerankError
from pipeline.core.printable import escape_controls, make_printable

CONTROLS = {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *"\u202a\u202e\u2066\u2069\u2028"}


@given(st.text(st.sampled_from(["a", "ü", "[", "1", "m", ";", *CONTROLS])))
def test_no_control_character_is_left_but_tabs_and_line_feeds(text: str) -> None:
    assert not CONTROLS - {"\t", "\n"} & set(make_printable(text))


@given(st.text())
def test_escaped_controls_are_the_same_json(text: str) -> None:
    escaped = escape_controls(json.dumps(text, ensure_ascii=False))

    assert json.loads(escaped) == text
    assert not CONTROLS & set(escaped)


def test_colours_leave_no_trace() -> None:
    assert make_printable("\x1b[1;31mred\x1b[0m, 東京 é\u3000") == "red, 東京 é\u3000"


def test_a_message_of_an_error_is_printable() -> None:
    error = RerankError("odd", which="a\x1b[2J", found="\u202eb\x07")

    assert str(error) == "a: odd (found \ufffdb\ufffd)"
