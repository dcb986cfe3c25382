"""Counts Qwen tokens and cuts texts to a number of them, exactly where the vocabulary is installed.

`T(text)`, here and in the modules around, is the number of tokens of a text's NFC form.
"""

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.core.arrays import IntArray
from pipeline.tokens.bounds import Texts, upper_bound, upper_bounds
from pipeline.tokens.pieces import CALL_CHARACTERS, first_cut, pieces
from pipeline.tokens.settling import Settled, settle
from pipeline.tokens.vocabulary import find_vocabulary, load_encoding

if TYPE_CHECKING:
    from tiktoken import Encoding


class TokenCounter:
    """Token counts of texts, from cheap bounds to exact counts.

    It may be shared by threads. The vocabulary is loaded at the first exact count (.2 s, 55 MB).

    Args:
        vocabulary: The file `qwen.tiktoken`; by default that of an installed package.
        exact: Whether to count exactly; otherwise every count is a bound.
    """

    def __init__(self, vocabulary: Path | None = None, *, exact: bool = True) -> None:
        self._path = vocabulary
        self._exact = exact
        self._lock = threading.Lock()
        self._loaded: Encoding | None = None

    @cached_property
    def exact_available(self) -> bool:
        """Whether counts are exact; without the known vocabulary they are upper bounds."""
        return self._vocabulary is not None

    def upper_bounds(self, texts: Texts) -> IntArray:
        """Bound T of each text from above, at hundreds of MB/s; null is 0."""
        return upper_bounds(texts)

    def count(self, text: str, cap: int | None = None) -> int:
        """Return min(T(text), cap); a stretch of 65,536 characters without safe cut is bounded."""
        if not self.exact_available:
            total = upper_bound(text)
            return total if cap is None else min(total, cap)
        total = 0
        for piece in pieces(text):
            if piece.is_whole:
                total += len(self._encode(piece.text))
            else:
                total += upper_bound(piece.text) + 1  # for a blank that may stand before it
            if cap is not None and total >= cap:
                return cap
        return total

    def counts(self, texts: Sequence[str], cap: int | None = None) -> IntArray:
        """Return min(T(text), cap) of each text, in order."""
        return np.fromiter((self.count(text, cap) for text in texts), np.int64, len(texts))

    def settle(
        self, texts: "Sequence[str] | Texts", bounds: IntArray, *, budget: int, cap: int
    ) -> Settled:
        """Replace bounds by counts, largest first, until the sum fits the budget; see `settle`."""
        count = self.count if self.exact_available else None
        return settle(texts, bounds, count, budget=budget, cap=cap)

    def truncate(self, text: str, cap: int, margin: int = 64) -> tuple[str, int]:
        """Cut a text of more than `cap` tokens so that its first `cap` tokens stay what they are.

        A service that cuts at `cap` tokens itself then keeps the same ones. The cut is at the first
        safe place at or after `cap` tokens; if that is more than `margin` tokens away, between two
        characters within the margin; and at most 65,536 characters after the last safe place.

        Returns:
            The NFC form up to the cut and its exact tokens. Where they are at most `cap`, the text
            as it came and its tokens. Without the vocabulary, which leaves the cut to the service,
            the text as it came and min(bound, cap).
        """
        if not self.exact_available:
            return text, self.count(text, cap)
        kept, num_kept = "", 0
        rest = pieces(text)
        for piece in rest:
            text_of_call = piece.text[:CALL_CHARACTERS]
            tokens = self._encode(text_of_call)
            if piece.is_whole and num_kept + len(tokens) <= cap:
                kept += piece.text
                num_kept += len(tokens)
                continue
            head, num_tokens = self._cut(text_of_call, tokens, cap - num_kept, margin)
            if head == piece.text and next(rest, None) is None:
                return text, num_kept + num_tokens
            return kept + head, num_kept + num_tokens
        return text, num_kept

    def _cut(self, text: str, tokens: list[int], cap: int, margin: int) -> tuple[str, int]:
        """Cut a text that begins at a safe cut, at `cap` tokens or a little later."""

        def length(num_tokens: int, partial: Literal["replace", "ignore"]) -> int:
            """Return the characters of the first tokens, with or without one begun by the last."""
            return len(self._encoding.decode(tokens[:num_tokens], errors=partial))

        if cap == 0:
            return "", 0
        end = first_cut(text, length(cap, "replace"))
        if end > length(cap + margin, "ignore"):
            # Halfway, since a cut that is not safe may change the tokens before it.
            end = length(cap + margin // 2, "replace")
        return text[:end], len(self._encode(text[:end]))

    @cached_property
    def _vocabulary(self) -> Path | None:
        return find_vocabulary(self._path) if self._exact else None

    @property
    def _encoding(self) -> "Encoding":
        if self._loaded is None:
            with self._lock:
                if self._loaded is None:
                    assert self._vocabulary is not None
                    self._loaded = load_encoding(self._vocabulary)
        return self._loaded

    def _encode(self, text: str) -> list[int]:
        return self._encoding.encode_ordinary(text)
