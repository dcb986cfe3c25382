"""Keep control characters of foreign texts away from terminals and logs."""

import re
from typing import Final

_SEQUENCES: Final = re.compile("(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]")
"""Control and escape sequences of terminals (ECMA-48, section 5.4)."""

_CONTROLS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""C0 but tab and line feed, DEL, C1, marks and overrides of direction, separators, surrogates."""

REPLACEMENT: Final = "\ufffd"


def make_printable(text: str) -> str:
    """Return the text without terminal sequences, other control characters as U+FFFD.

    Tabs and line feeds stay, and a carriage return before a line feed goes. Lone surrogates, which
    no encoding can write, become U+FFFD too.
    """
    if text.isprintable():
        return text
    return _CONTROLS.sub(REPLACEMENT, remove_sequences(text).replace("\r\n", "\n"))


def remove_sequences(text: str) -> str:
    """Return the text without terminal sequences."""
    return _SEQUENCES.sub("", text)


def escape_controls(json_text: str) -> str:
    """Return JSON with the control characters in its strings escaped."""
    if json_text.isprintable():
        return json_text
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)
