"""Find quickly whether short texts and a long one have a run of characters in common."""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_WORD: Final = 8
_STEP: Final = 4
"""Words of 8 bytes are compared, of the long text one at each fourth byte: runs of 11 are seen."""
_AROUND: Final = 64
_TABLE_BITS: Final = 16
_MIXER: Final = np.uint64(0x9E3779B97F4A7C15)


def have_common_run(short: Sequence[str], long: str, *, length: int) -> bool:
    """Return whether one of some short texts shares `length` characters in a row with a long one.

    Args:
        short: Some hundred characters each.
        long: Any number of characters.
        length: 11 or more.
    """
    needles = [text.encode(errors="replace") for text in short]
    haystack = long.encode(errors="replace")
    words = {word for needle in needles for word in _words(needle)}
    if not words:
        return False
    wanted = np.frombuffer(b"".join(words), dtype="<u8")
    return any(
        _num_common(needle, at, haystack, place) >= length
        for place in _hits(haystack, wanted)
        for needle in needles
        for at in _occurrences(haystack[place : place + _WORD], needle)
    )


def _words(needle: bytes) -> Iterator[bytes]:
    return (needle[at : at + _WORD] for at in range(len(needle) - _WORD + 1))


def _hits(haystack: bytes, wanted: NDArray[np.uint64]) -> Iterator[int]:
    """Yield the places of wanted words; of places with equal surroundings, only one."""
    table = np.zeros(1 << _TABLE_BITS, dtype=np.bool_)
    table[_hash(wanted)] = True
    seen: set[tuple[bytes, bytes]] = set()
    for offset in range(0, _WORD, _STEP):
        count = max(len(haystack) - offset, 0) // _WORD
        if not count:
            continue
        words = np.frombuffer(haystack, dtype="<u8", count=count, offset=offset)
        places = np.flatnonzero(table[_hash(words)])
        for place in places[np.isin(words[places], wanted)].tolist():
            start = place * _WORD + offset
            before = haystack[max(start - _AROUND, 0) : start]
            around = (before, haystack[start : start + _AROUND])
            if around not in seen:
                seen.add(around)
                yield start


def _hash(words: NDArray[np.uint64]) -> NDArray[Any]:
    return (words * _MIXER) >> np.uint64(64 - _TABLE_BITS)


def _occurrences(word: bytes, needle: bytes) -> Iterator[int]:
    at = needle.find(word)
    while at >= 0:
        yield at
        at = needle.find(word, at + 1)


def _num_common(needle: bytes, at: int, haystack: bytes, place: int) -> int:
    """Return how many whole characters in a row are equal around two places."""
    before = zip(
        reversed(needle[:at]), reversed(haystack[max(place - at, 0) : place]), strict=False
    )
    after = zip(needle[at:], haystack[place : place + len(needle) - at], strict=False)
    num_before = sum(1 for _ in takewhile(_are_equal, before))
    num_after = sum(1 for _ in takewhile(_are_equal, after))
    run = needle[at - num_before : at + num_after]
    return len(run.decode(errors="ignore"))


def _are_equal(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]
