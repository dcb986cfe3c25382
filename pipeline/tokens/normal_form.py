"""Text as the tokenizer sees it: in Unicode normal form C, without lone surrogates.

Time is linear in the text's length for any text. CPython sorts combining marks by insertion, so a
run of a million marks would take hours; long runs are sorted here first.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

_LONG_TEXT = 1_000  # characters; in a shorter text the insertion sort is fast enough
_LONG_RUN = 32  # combining marks in a row; Unicode's stream-safe format allows 30
_STEP = 8  # characters; looking at one in eight takes an eighth of the time
_LAST_MARK = 0x1FFFF  # no combining mark lies above it

INERT = (
    "\x00-\u02ff\u0388-\u0482\u05d0-\u05ea\u0621-\u064a\u0e01-\u0e30\u1e00-\u1eff\u2002-\u20cf"
    "\u2190-\u2328\u232b-\u2adb\u3000-\u3029\u3041-\u3096\u30a0-\u30ff\u4e00-\u9fff\uac00-\ud7a3"
    "\uff01-\uff65"
)
"""Ranges `first-last` of common characters that NFC neither changes nor joins to the character
before."""


def to_nfc(text: str) -> str:
    """Return the NFC form of `text`; a surrogate code point becomes U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode("utf-16-le")  # the fastest test for surrogates
    except UnicodeEncodeError:
        text = re.sub("[\ud800-\udfff]", "\ufffd", text)
    if unicodedata.is_normalized("NFC", text):
        return text
    # A long run shows among every eighth character; few texts have one.
    if len(text) > _LONG_TEXT and _run_of_marks(_LONG_RUN // _STEP).search(text[::_STEP]):
        text = _run_of_marks(_LONG_RUN).sub(_in_canonical_order, text)
    return unicodedata.normalize("NFC", text)


def iter_nfc(text: str, size: int) -> Iterator[str]:
    """Yield the NFC form of `text` in parts of about `size` characters.

    A part ends before an inert character, so it is longer where there is none.
    """
    start = 0
    while start < len(text):
        border = _inert().search(text, start + size)
        end = border.start() if border else len(text)
        yield to_nfc(text[start:end])
        start = end


@cache
def _inert() -> re.Pattern[str]:
    return re.compile(f"[{INERT}]")  # compiled when needed: it takes milliseconds


def _in_canonical_order(run: re.Match[str]) -> str:
    marks = "".join(unicodedata.normalize("NFD", mark) for mark in run[0])
    return "".join(sorted(marks, key=unicodedata.combining))


@cache
def _run_of_marks(length: int) -> re.Pattern[str]:
    return re.compile(f"[{_marks()}]{{{length},}}")


@cache
def _marks() -> str:
    return "".join(
        chr(code)
        for code in range(0x300, _LAST_MARK)
        # of the decomposed form: three Tibetan vowels are one starter that holds two marks
        if unicodedata.combining(unicodedata.normalize("NFD", chr(code))[0])
    )
