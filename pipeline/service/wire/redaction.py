"""Keep candidates' texts, files, URLs and keys out of messages that a service sends back.

An error body may repeat its request, and messages end in logs and in `_rejects`. A repeated text is
found in any spelling: comparison is blind to case, Unicode normal form, line folds and control
characters, and to the escapes of JSON, HTML and URLs, nested or not.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pipeline.core.content import value_or_url
from pipeline.core.errors import shorten
from pipeline.core.records import Request
from pipeline.service.wire.common_runs import have_common_run
from pipeline.service.wire.spelling import fold, spellings, unfolded_spellings

WITHHELD: Final = "(message withheld: it repeats the request)"

_MAX_EXAMINED: Final = 4_000
"""Characters of a message that are examined; fewer are shown."""

_MAX_NAME: Final = 80
_NAME: Final = re.compile(rf"[A-Za-z0-9_.:-]{{1,{_MAX_NAME}}}")
_USUAL_ID: Final = re.compile(r"(?:[A-Za-z]{1,12}[-_.:])?[0-9a-fA-F-]+|[A-Za-z0-9_.:-]{1,13}")
"""Ids as services give them, `rerank-4f2a...`: too short, or too numeric, to be a text."""

_NUMBER: Final = re.compile(rf"[0-9a-fA-F-]{{1,{_MAX_NAME}}}")
"""A name that is a hexadecimal number, as most services give: a UUID."""

_MIN_KEY_PART: Final = 8
_MIN_TEXT: Final = 4
"""Shorter texts occur in any message."""
_WORD_LIKE: Final = 8
"""A text of fewer characters counts only where it is not part of a longer word."""
_DATA_URL: Final = re.compile(r"data:\s*[a-z]+/[a-z0-9.+-]+\s*;\s*base64", re.IGNORECASE)
_MIN_RUN: Final = 14
"""So many characters in a row repeat a text; blanks do not count, so 24 with them are found."""


class TakesLong(Exception):
    """The texts must be read, which is to be done in a thread."""


class Redactor:
    """Keep one key, and the texts of requests, out of what a service says.

    Args:
        api_key: The key; None if there is none.
    """

    def __init__(self, api_key: str | None) -> None:
        key = (api_key or "").lower()
        size = min(_MIN_KEY_PART, len(key))
        parts = {key[at : at + size] for at in range(len(key) - size + 1)} if key else set()
        self._key_parts = tuple(parts)
        self._folded_parts = tuple({folded for part in parts if (folded := fold(part))})
        self._all_parts = tuple({*self._key_parts, *self._folded_parts})
        self._numeric_parts = tuple(filter(_NUMBER.fullmatch, self._all_parts))

    def message(self, message: str, request: Request, *, may_take_long: bool = True) -> str:
        """Return a message, shortened; a notice if it holds a part of the key or of the request.

        A part of the key is 8 characters of it or more, a part of a text 24 characters or more, or
        the whole of a shorter one.

        Raises:
            TakesLong: if the message must be compared with the texts, and that may not take long.
        """
        message = message[:_MAX_EXAMINED]
        if not message.strip():
            return ""
        if not may_take_long:
            raise TakesLong
        said = unfolded_spellings(message)
        if self._holds_key(said) or _holds_text(said, _texts(request)) or _holds_file(said):
            return WITHHELD
        return shorten(message)

    def is_plain_id(self, name: str) -> bool:
        """Return whether a name is a number without a part of the key, which `response_id` keeps.

        Few parts of a key could stand in a number, so this takes less than `response_id`.
        """
        if not _NUMBER.fullmatch(name):
            return False
        parts = self._numeric_parts  # of most keys none
        return not parts or not any(part in name.lower() for part in parts)

    def response_id(self, name: str, request: Request, *, may_take_long: bool = True) -> str:
        """Return a service's name of its answer; "" if it is no name, or repeats key or request.

        Raises:
            TakesLong: as `message` does.
        """
        if len(name) <= _MAX_NAME and _USUAL_ID.fullmatch(name):
            lower = name.lower()  # nothing in it is folded otherwise
            return "" if any(part in lower for part in self._all_parts) else name
        if not _NAME.fullmatch(name):
            return ""
        shown = self.message(name, request, may_take_long=may_take_long)
        return name if shown == name else ""

    def _holds_key(self, said: Iterable[str]) -> bool:
        for spelling in said:
            lower, folded = spelling.lower(), fold(spelling)
            if any(part in lower for part in self._key_parts):
                return True
            if any(part in folded for part in self._folded_parts):
                return True
        return False


def _holds_text(said: Sequence[str], texts: Iterable[str]) -> bool:
    messages = [fold(spelling) for spelling in said]
    spaced = [fold(spelling, blanks=True) for spelling in said]
    long_texts = []
    for text in texts:
        for spelling in spellings(text):
            folded = fold(spelling)
            if len(folded) >= _MIN_RUN:
                long_texts.append(folded)
            elif len(folded) >= _WORD_LIKE:
                if any(folded in message for message in messages):
                    return True
            elif len(folded) >= _MIN_TEXT:
                word = fold(spelling, blanks=True).strip()
                if any(_has_word(message, word) for message in spaced):
                    return True
    return have_common_run(messages, "\n".join(long_texts), length=_MIN_RUN)


def _holds_file(said: Iterable[str]) -> bool:
    """Return whether a message repeats the beginning of a data URL."""
    return any(_DATA_URL.search(spelling) for spelling in said)


def _has_word(message: str, word: str) -> bool:
    at = message.find(word)
    while at >= 0:
        before, after = message[max(at - 1, 0) : at], message[at + len(word) :][:1]
        if not (_in_word(before, word[0]) or _in_word(word[-1], after)):
            return True
        at = message.find(word, at + 1)
    return False


def _in_word(one: str, next_one: str) -> bool:
    """Return whether two neighbours belong to a word; scripts without blanks have no words."""
    return (one + next_one).isascii() and one.isalnum() and next_one.isalnum()


def _texts(request: Request) -> Iterator[str]:
    """Return what a request holds: texts, URLs, and files as they are sent."""
    return map(value_or_url, (request.query, *request.documents))
