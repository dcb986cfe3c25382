"""No message of a service shows the key or a text of the request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.client_bench import request_of

from pipeline.service.wire.redaction import redact

SECRET = "the patient of room twelve is called Erika Mustermann"


@pytest.mark.parametrize(
    "message",
    [
        f"cannot read {SECRET}",
        f"cannot read {SECRET[:30]}",
        f"cannot read {SECRET.replace(' ', chr(10))}",
        "a query of: cats?",
        "key sk-123 is wrong",
    ],
)
def test_a_message_that_repeats_the_request_or_the_key_is_withheld(message) -> None:
    request = request_of("other", SECRET, query="cats?")

    shown = redact(message, request, "sk-123")

    assert "withheld" in shown
    assert "Erika" not in shown
    assert "sk-123" not in shown


@given(st.integers(0, len(SECRET) - 24), st.text(max_size=40), st.text(max_size=40))
def test_any_24_characters_of_a_text_are_found(start, before, after) -> None:
    piece = SECRET[start : start + 24]

    assert piece not in redact(before + piece + after, request_of(SECRET), None)


def test_other_messages_are_shown() -> None:
    message = "batch size of documents is invalid"

    assert redact(message, request_of("a", "ü", SECRET), None) == message
