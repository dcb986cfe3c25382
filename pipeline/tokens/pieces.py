r"""Cut a text into pieces whose token counts add up to that of the whole.

A *safe cut* lies where every tokenisation by the Qwen pattern has a border between pre-tokens. No
alternative of the pattern looks behind and only `\s+(?!\S)` looks ahead, so these are safe cuts:

* after a letter, before a character that is neither letter nor mark: a run of letters ends a
  pre-token;
* after a decimal digit: each is a pre-token of its own;
* between a newline and a character that is not white space: after a newline every alternative
  continues with white space only, and the lookahead is never tried there, since `\s*[\r\n]+`
  matches before it.

The characters are chosen so that this holds in every version of Unicode: the service's need not be
ours.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from msgspec import Struct

from pipeline.tokens.normal_form import iter_nfc


class PieceSizes(Struct, frozen=True):
    """Lengths of pieces, in characters.

    Attributes:
        usual_characters: A piece ends at the last safe cut within as many characters.
        max_characters: The longest text for one call of the encoder: tiktoken panics on a million
            blanks.
    """

    usual_characters: int = 4_096
    max_characters: int = 65_536


PIECE_SIZES = PieceSizes()
"""The sizes of every run; tests use smaller ones."""

NEITHER_LETTER_NOR_MARK = (
    r"\t\n\r -&(-/:-@\[-`{-~"  # ASCII without the apostrophe, which may begin a contraction
    r"\xa0\xa1\xab\xb7\xbb\xbf\u060c\u061b\u061f\u06d4\u0964\u0965\u2010-\u2027\u2030-\u205e"
    r"\u3000-\u3003\u3008-\u3020\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_ENDS_PRE_TOKEN = rf"(?:[^\W\d_](?=[{NEITHER_LETTER_NOR_MARK}])|\d|\n(?=\S))"


class Piece(NamedTuple):
    """A part of a text's NFC form.

    Attributes:
        text: At most `max_characters` long if it is whole.
        is_whole: Whether it lies between two safe cuts. If not, it is a part of a stretch without
            safe cuts, and its count does not add up with others.
    """

    text: str
    is_whole: bool


def pieces(text: str, sizes: PieceSizes = PIECE_SIZES) -> Iterator[Piece]:
    """Yield the NFC form of `text` in pieces, mostly a little shorter than `usual_characters`.

    A piece ends at the last safe cut within `usual_characters`, else at the first one within
    `max_characters`. Pieces are made as they are taken: the rest of a long text costs nothing.
    """
    rest, is_whole = "", True
    for part in iter_nfc(text, sizes.usual_characters):
        num_searched = len(rest)
        rest += part
        while len(rest) > sizes.usual_characters and (end := _piece_end(rest, num_searched, sizes)):
            yield Piece(rest[:end], is_whole)
            rest, is_whole, num_searched = rest[end:], True, 0
        if len(rest) > sizes.max_characters:
            yield Piece(rest, False)
            rest, is_whole = "", False
    if rest:
        yield Piece(rest, is_whole)


def first_cut(text: str, at_least: int) -> int:
    """Return the first safe cut of `text` at index `at_least` or later (1 or more), or its end."""
    match = _first().search(text, at_least - 1)
    return match.end() if match else len(text)


@cache
def _first() -> re.Pattern[str]:
    return re.compile(_ENDS_PRE_TOKEN)


@cache
def _last() -> re.Pattern[str]:
    return re.compile(rf".*{_ENDS_PRE_TOKEN}", re.DOTALL)  # matches to the end, then backtracks


def _piece_end(text: str, num_searched: int, sizes: PieceSizes) -> int | None:
    match, usual = None, sizes.usual_characters
    if num_searched <= usual:
        match = _last().match(text, 0, usual + 1)  # a cut looks one character ahead
    if match is None:
        match = _first().search(text, max(usual, num_searched - 1), sizes.max_characters)
    return match.end() if match else None
