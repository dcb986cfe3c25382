"""Split a long document into passages, so that a service reads all of it, not only its beginning.

MaxP of Dai and Callan (2019), doi:10.1145/3331184.3331303: a document is as relevant as its best
passage. Passages are about equally long, since a short last one would be scored on too little text.
"""

import re
from collections.abc import Iterator
from functools import cache
from math import ceil
from typing import Protocol

LEAST_MAX_TOKENS = 16
"""A character can have so many tokens that a lower limit might not hold it: NFC makes three
characters of 4 bytes each of U+1D160."""

_BORDERS = (  # in order of preference; a passage ends where the match ends
    r"\n\s*\n",
    r"[.!?…][\"'”’)\]]*\s+|[。！？]+[”’」』）]*\s*",
    r"\n",
    r"[,;:]\s+|[，；：、]",
    r"\s+",
    r"\w(?=\W)",
)
_FILL = 0.9  # average share of max_tokens, which leaves room to move the borders


class Counter(Protocol):
    """Counts the tokens of texts."""

    def count(self, text: str, cap: int | None = None) -> int:
        """Return the tokens of `text`, at most `cap`."""
        ...


def split_passages(text: str, counter: Counter, max_tokens: int) -> list[str]:
    """Cut `text` into passages of at most `max_tokens` tokens each; joined they are the text.

    A passage ends near the place where passages of equal length would end: at the end of a
    paragraph if there is one nearby, else of a sentence, a line, a clause or a word, else exactly
    there.

    Args:
        text: The document.
        counter: Counts its tokens.
        max_tokens: 16 or more.

    Raises:
        ValueError: if `max_tokens` is less than 16.
    """
    if max_tokens < LEAST_MAX_TOKENS:
        raise ValueError(f"max_tokens is {max_tokens}, expected {LEAST_MAX_TOKENS} or more")
    num_tokens = counter.count(text)
    if num_tokens <= max_tokens:
        return [text]
    num_passages = max(2, ceil(num_tokens / (_FILL * max_tokens)))
    max_characters = max_tokens * len(text) / num_tokens

    def split(text: str, num_passages: int) -> Iterator[str]:
        if num_passages == 1:
            if counter.count(text, max_tokens + 1) <= max_tokens:
                yield text
                return
            num_passages = 2  # it has more tokens per character than the document on average
        left = num_passages // 2
        size = len(text) / num_passages
        reach = min(max((max_characters - size) / 2, size / 16), size / 4)
        border = _find_border(text, round(left * size), round(reach))
        yield from split(text[:border], left)
        yield from split(text[border:], num_passages - left)

    return list(split(text, num_passages))


@cache
def _borders() -> list[re.Pattern[str]]:
    return [re.compile(pattern) for pattern in _BORDERS]


def _find_border(text: str, aim: int, reach: int) -> int:
    first, last = max(aim - reach, 1), min(aim + reach, len(text) - 1)
    for pattern in _borders():
        ends = (match.end() for match in pattern.finditer(text, first - 1, last + 1))
        near = [end for end in ends if first <= end <= last]
        if near:
            return min(near, key=lambda end: abs(end - aim))
    return min(max(aim, 1), len(text) - 1)
