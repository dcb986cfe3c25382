"""A cache of token counts: one document may be a candidate of many queries.

Among the 300 x 1,000 candidates of SciFact each document occurs 57 times. Looking a count up takes
a thirtieth of the time of counting.
"""

from array import array
from collections.abc import Sequence
from typing import Final

import numpy as np

from pipeline.core.arrays import IntArray
from pipeline.tokens.counter import Counter, TokenCounter
from pipeline.tokens.word_counter import WordCounter

_SLOT_BITS: Final = 18
_LOW: Final = (1 << _SLOT_BITS) - 1
_ALL: Final = (1 << 64) - 1
_HIGH: Final = _ALL ^ _LOW
_MANY: Final = 16
"""From so many texts on, texts are counted by their words."""


class CachedCounter:
    """Wraps a counter, returns the same counts, and keeps 262,144 of them in 2 MB.

    The low bits of a text's hash are the slot of its count; a later text with the same low bits
    replaces it. A slot is one 64-bit word: the high bits of the hash above, the count below. It is
    read and written at once, so that threads need no lock, and only a text of the same 64-bit hash
    gets the count. It is Python's own hash, whose secret key is drawn for each process, so nobody
    can make texts of equal hashes.

    Args:
        counter: Counts what is not in the cache.
    """

    def __init__(self, counter: Counter | None = None) -> None:
        self._counter = counter or TokenCounter()
        self._slots = array("Q", bytes(8 << _SLOT_BITS))
        self._words = WordCounter(self._counter.count)

    @property
    def exact_available(self) -> bool:
        """Whether counts are exact; else they are upper bounds."""
        return self._counter.exact_available

    def count(self, text: str, cap: int | None = None) -> int:
        """Return min(T(text), cap)."""
        hashed = hash(text) & _ALL
        tokens = self._find(hashed)
        if not tokens:
            tokens = self._counter.count(text, cap)
            # A count that reached the cap is no answer for a higher cap.
            if cap is None or tokens < cap:
                self._keep(hashed, tokens)
        return tokens if cap is None else min(tokens, cap)

    def counts(self, texts: Sequence[str], cap: int | None = None) -> IntArray:
        """Return min(T(text), cap) of each text, in order."""
        if len(texts) < _MANY or not self.exact_available:
            return np.fromiter((self.count(text, cap) for text in texts), np.int64, len(texts))
        hashes = np.fromiter(map(hash, texts), np.int64, len(texts)).view(np.uint64)
        high, places = hashes & np.uint64(_HIGH), hashes & np.uint64(_LOW)
        slots = np.frombuffer(self._slots, dtype=np.uint64)
        found = slots[places]
        counts = np.where(found & np.uint64(_HIGH) == high, found & np.uint64(_LOW), 0)
        missing = np.flatnonzero(counts == 0)
        counted = self._words.counts([texts[index] for index in missing.tolist()])
        counts[missing] = counted
        kept = missing[counted <= _LOW]
        slots[places[kept]] = high[kept] | counts[kept]
        whole = counts.astype(np.int64)
        return whole if cap is None else np.minimum(whole, cap)

    def _find(self, hashed: int) -> int:
        """Return the kept tokens of a text; 0 if there are none."""
        slot = self._slots[hashed & _LOW]
        return slot & _LOW if slot & _HIGH == hashed & _HIGH else 0

    def _keep(self, hashed: int, tokens: int) -> None:
        if tokens <= _LOW:
            self._slots[hashed & _LOW] = hashed & _HIGH | tokens

    def truncate(self, text: str, cap: int) -> tuple[str, int]:
        """Cut a text of more than `cap` tokens; return it and its tokens."""
        return self._counter.truncate(text, cap)
