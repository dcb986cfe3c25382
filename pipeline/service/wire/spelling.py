"""The spellings of a text, so that a repeated text is found however it was escaped."""

import html
import re
import unicodedata
from typing import Final

from pipeline.core.printable import remove_sequences

_MAX_NESTED: Final = 4
"""How many levels of nested escapes are resolved."""

_ESCAPE: Final = re.compile(
    r"(?P<url>(?:%[0-9a-f]{2})+)"
    r"|(?P<hex>(?:\\x[0-9a-f]{2})+)"
    r"|\\(?-i:U)000(?P<wide>[0-9a-f]{5})"
    r"|(?P<utf16>(?:\\u[0-9a-f]{4})+)"
    r"|\\u\{(?P<braced>[0-9a-f]{1,5})\}"
    r"|(?P<entity>&(?:\#[0-9]{1,7}|\#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});?)"
    r"|\\(?P<short>.)",
    re.IGNORECASE | re.DOTALL,
)
_FOLDS: Final = re.compile(
    "[ \\t]*[\\r\\n]+[ \\t]*|[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200b-\\u202e]+"
)
"""Line breaks, which may also stand within an escape."""

_MAY_BE_ESCAPED: Final = re.compile(r"[%\\&]")
_SHORT: Final = {"n": " ", "r": " ", "t": " ", "b": " ", "f": " ", "v": " ", "0": " "}

_IGNORED: Final = re.compile(
    r"[\s+\\\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+"
)
"""Blanks, `+`, backslashes, control characters, and characters of no width."""
_ASCII_IGNORED: Final = bytes(filter(lambda code: _IGNORED.match(chr(code)), range(128)))


def spellings(text: str) -> list[str]:
    """Return the text, and the text with its escapes resolved once, twice and so on."""
    found = [remove_sequences(text)]
    while len(found) <= _MAX_NESTED and _MAY_BE_ESCAPED.search(found[-1]):
        resolved = remove_sequences(_ESCAPE.sub(_resolve, found[-1]))
        if resolved == found[-1]:
            break
        found.append(resolved)
    return found


def unfolded_spellings(text: str) -> list[str]:
    """Return the spellings of a text, and those of the same text in one line."""
    in_one_line = _FOLDS.sub("", remove_sequences(text))
    return spellings(text) + (spellings(in_one_line) if in_one_line != text else [])


def fold(text: str, *, blanks: bool = False) -> str:
    """Return a form that is equal for texts that differ only in case, normal form or white space.

    Args:
        text: Any text.
        blanks: Whether one blank is left of each run of ignored characters.
    """
    if text.isascii():
        text = text.lower()
        if not blanks:
            return text.encode().translate(None, _ASCII_IGNORED).decode()
        return _IGNORED.sub(" ", text)
    # upper case first, since the dotless i and the final sigma have no case folding of theirs
    text = _decomposed(_decomposed(text).upper().casefold())
    return _IGNORED.sub(" " if blanks else "", text)


def _decomposed(text: str) -> str:
    is_done = unicodedata.is_normalized("NFKD", text)
    return text if is_done else unicodedata.normalize("NFKD", text)


def _resolve(escape: re.Match[str]) -> str:
    kind, found = escape.lastgroup, escape[0]
    if kind == "url":
        return _utf8(bytes.fromhex(found.replace("%", "")))
    if kind == "hex":
        return _utf8(bytes.fromhex(re.sub(r"\\x", "", found, flags=re.IGNORECASE)))
    if kind == "utf16":
        units = bytes.fromhex(re.sub(r"\\u", "", found, flags=re.IGNORECASE))
        return units.decode("utf-16-be", errors="ignore")
    if kind in ("wide", "braced"):
        return chr(int(escape[kind], 16))
    if kind == "entity":
        return html.unescape(found)
    return _SHORT.get(escape["short"].lower(), escape["short"])


def _utf8(content: bytes) -> str:
    """Return the text of bytes that are UTF-8, cut anywhere, or else Latin-1."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        text = content.decode(errors="ignore")
        return text if 2 * len(text.encode()) > len(content) else content.decode("latin-1")
