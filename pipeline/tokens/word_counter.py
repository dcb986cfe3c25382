"""Exact counts of many texts at once: every distinct word is counted once.

A text has ten times as many words as a group has distinct ones, so a word is looked up where a
text would be encoded. This is exact, because a blank (U+0020) after a character that is not white
space always begins a pre-token of the Qwen pattern: no alternative looks behind, only those that
begin with white space match a blank beyond their first character, and NFC never merges a blank with
another character.
"""

from collections.abc import Callable, Sequence
from typing import Final, cast

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import IntArray

MAX_CHARACTERS: Final = 16_384
"""Longer texts are counted one by one: a stretch that is too long for the encoder is bounded."""

MAX_WORDS: Final = 65_536
_BLANK: Final = 0x20
_MAX_WORD: Final = 64
"""Words of more characters are not kept: they rarely occur again."""


class WordCounter:
    """Counts texts by their words and remembers the tokens of words; threads may share it.

    Args:
        count: Returns T of a text, exactly.
        max_words: How many words are remembered.
    """

    def __init__(self, count: Callable[[str], int], *, max_words: int = MAX_WORDS) -> None:
        self._count = count
        self._max_words = max_words
        self._known: dict[str, int] = {}

    @property
    def num_known(self) -> int:
        """How many words are remembered."""
        return len(self._known)

    def counts(self, texts: Sequence[str]) -> IntArray:
        """Return T of each text, in order; texts must be valid UTF-8.

        A text that is long, or that holds a blank after white space, is counted as a whole.
        """
        counts = np.zeros(len(texts), dtype=np.int64)
        filled = [index for index, text in enumerate(texts) if text]
        if not filled:
            return counts
        words, first_words = _split([texts[index] for index in filled])
        distinct = words.dictionary_encode()
        vocabulary = cast("list[str]", distinct.dictionary.to_pylist())
        # Negative where the blank after a word would be no border.
        signed = np.array(self._tokens(vocabulary), dtype=np.int32)[distinct.indices.to_numpy()]
        counts[filled] = np.add.reduceat(np.abs(signed), first_words, dtype=np.int64)
        signed[np.append(first_words[1:], len(words)) - 1] = 0  # no blank follows the last word
        by_itself = np.minimum.reduceat(signed, first_words) < 0
        for index, is_open in zip(filled, by_itself.tolist(), strict=True):
            if is_open or len(texts[index]) > MAX_CHARACTERS:
                counts[index] = self._count(texts[index])
        return counts

    def _tokens(self, words: list[str]) -> list[int]:
        """Return T of each word; negative if it ends in white space."""
        return [
            self._count_word(word) if count is None else count
            for word, count in zip(words, map(self._known.get, words), strict=True)
        ]

    def _count_word(self, word: str) -> int:
        count = -self._count(word) if word[-1].isspace() else self._count(word)
        if len(word) <= _MAX_WORD:
            if len(self._known) >= self._max_words:
                self._known.clear()
            self._known[word] = count
        return count


def _split(texts: Sequence[str]) -> tuple[pa.LargeStringArray, IntArray]:
    """Return the words of texts, each with the blank before it, and the first word of each text.

    Args:
        texts: None of them empty.
    """
    _, offsets, data = pa.array(texts, pa.large_string()).buffers()
    assert offsets is not None
    assert data is not None
    borders = np.frombuffer(memoryview(offsets), dtype=np.int64)[: len(texts) + 1]
    begins = np.frombuffer(memoryview(data), dtype=np.uint8)[: borders[-1]] == _BLANK
    begins[borders[:-1]] = True
    starts = np.append(np.flatnonzero(begins), borders[-1])
    buffers = [None, pa.py_buffer(starts.tobytes()), data]
    words = pa.Array.from_buffers(pa.large_string(), len(starts) - 1, buffers)
    return cast("pa.LargeStringArray", words), np.searchsorted(starts, borders[:-1])
