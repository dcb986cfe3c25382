r"""Cuts a text into pieces whose tokens add up to those of the whole.

A *safe cut* lies where every tokenisation by the Qwen pattern has a border between pre-tokens. No
alternative of the pattern looks behind and only `\s+(?!\S)` looks ahead, so that it lies

* after a letter, before what is surely neither letter nor mark: a run of letters ends a pre-token;
* after a decimal digit: each is a pre-token of its own;
* between a newline and what is surely no white space: no alternative goes on after a newline but
  with white space, and the lookahead is never tried there, since `\s*[\r\n]+` matches before it.

"Surely": in any version of Unicode, since ours need not be the service's.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from pipeline.tokens.normal_form import iter_nfc

PIECE_CHARACTERS = 4_096
CALL_CHARACTERS = 65_536
"""The longest text for one call of the encoder: tiktoken panics on a million blanks."""

NEITHER_LETTER_NOR_MARK = (
    r"\t\n\r -&(-/:-@\[-`{-~"  # ASCII without the apostrophe, which may begin a contraction
    r"\xa0\xa1\xab\xb7\xbb\xbf\u060c\u061b\u061f\u06d4\u0964\u0965\u2010-\u2027\u2030-\u205e"
    r"\u3000-\u3003\u3008-\u3020\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_ENDS_PRE_TOKEN = rf"(?:[^\W\d_](?=[{NEITHER_LETTER_NOR_MARK}])|\d|\n(?=\S))"


class Piece(NamedTuple):
    """A part of a text's NFC form.

    Attributes:
        text: At most 65,536 characters if it is whole.
        is_whole: Whether it lies between two safe cuts. If not, it is a part of a stretch without
            any, and the sum of counts has no meaning.
    """

    text: str
    is_whole: bool


def pieces(text: str) -> Iterator[Piece]:
    """Yield the NFC form of `text` in pieces, mostly of nearly 4,096 characters.

    A piece ends at the last safe cut of its first 4,096 characters, else at the first of 65,536.
    The work is done as the pieces are taken: the rest of a long text costs nothing.
    """
    rest, is_whole = "", True
    for part in iter_nfc(text, PIECE_CHARACTERS):
        num_searched = len(rest)
        rest += part
        while len(rest) > PIECE_CHARACTERS and (end := _piece_end(rest, num_searched)):
            yield Piece(rest[:end], is_whole)
            rest, is_whole, num_searched = rest[end:], True, 0
        if len(rest) > CALL_CHARACTERS:
            yield Piece(rest, False)
            rest, is_whole = "", False
    if rest:
        yield Piece(rest, is_whole)


def first_cut(text: str, at_least: int) -> int:
    """Return the first safe cut of `text` at index `at_least` (from 1) or later, else its end."""
    match = _first().search(text, at_least - 1)
    return match.end() if match else len(text)


@cache
def _first() -> re.Pattern[str]:
    return re.compile(_ENDS_PRE_TOKEN)


@cache
def _last() -> re.Pattern[str]:
    return re.compile(rf".*{_ENDS_PRE_TOKEN}", re.DOTALL)  # goes to the end, then backwards


def _piece_end(text: str, num_searched: int) -> int | None:
    match = None
    if num_searched <= PIECE_CHARACTERS:
        match = _last().match(text, 0, PIECE_CHARACTERS + 1)  # a cut looks one character ahead
    if match is None:
        match = _first().search(text, max(PIECE_CHARACTERS, num_searched - 1), CALL_CHARACTERS)
    return match.end() if match else None
