"""Count Qwen tokens and cut texts to a number of them.

Counts are exact where the vocabulary is installed, else upper bounds. `T(text)`, here and in the
other modules of this room, is the number of tokens of a text's NFC form.
"""

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from pipeline.core.arrays import IntArray
from pipeline.tokens.bounds import upper_bound
from pipeline.tokens.pieces import PIECE_SIZES, PieceSizes, first_cut, pieces
from pipeline.tokens.vocabulary import find_vocabulary, load_encoding

if TYPE_CHECKING:
    from tiktoken import Encoding


class Counter(Protocol):
    """What counts and cuts texts: a `TokenCounter`, or a wrapper around one."""

    @property
    def exact_available(self) -> bool:
        """Whether counts are exact; else they are upper bounds."""
        ...

    def count(self, text: str, cap: int | None = None) -> int:
        """Return min(T(text), cap)."""
        ...

    def counts(self, texts: Sequence[str], cap: int | None = None) -> IntArray:
        """Return min(T(text), cap) of each text, in order."""
        ...

    def truncate(self, text: str, cap: int) -> tuple[str, int]:
        """Cut a text of more than `cap` tokens; return it and its tokens."""
        ...


class TokenCounter:
    """Counts tokens: cheap upper bounds, exact counts, and cuts at exact counts.

    Threads may share a counter. The vocabulary is loaded at the first exact count (.2 s, 41 MB).

    Args:
        vocabulary: The file `qwen.tiktoken`; by default that of an installed package.
        exact: Whether to count exactly; otherwise every count is a bound.
        sizes: Lengths of the pieces in which texts are encoded.
    """

    def __init__(
        self,
        vocabulary: Path | None = None,
        *,
        exact: bool = True,
        sizes: PieceSizes = PIECE_SIZES,
    ) -> None:
        self._path = vocabulary
        self._exact = exact
        self._sizes = sizes
        self._lock = threading.Lock()
        self._loaded: Encoding | None = None

    @cached_property
    def exact_available(self) -> bool:
        """Whether counts are exact; without the known vocabulary they are upper bounds."""
        return self._vocabulary is not None

    def count(self, text: str, cap: int | None = None) -> int:
        """Return min(T(text), cap).

        A stretch of more than 65,536 characters without a safe cut is bounded, not counted.
        """
        if not self.exact_available:
            total = upper_bound(text)
            return total if cap is None else min(total, cap)
        total = 0
        for piece in pieces(text, self._sizes):
            if piece.is_whole:
                total += len(self._encode(piece.text))
            else:
                total += upper_bound(piece.text) + 1  # room for a blank before it
            if cap is not None and total >= cap:
                return cap
        return total

    def counts(self, texts: Sequence[str], cap: int | None = None) -> IntArray:
        """Return min(T(text), cap) of each text, in order."""
        return np.fromiter((self.count(text, cap) for text in texts), np.int64, len(texts))

    def truncate(self, text: str, cap: int, margin: int = 64) -> tuple[str, int]:
        """Cut a text of more than `cap` tokens so that its first `cap` tokens stay the same.

        A service that itself cuts at `cap` tokens then keeps the same ones. The cut is at the first
        safe place at or after `cap` tokens. If that is more than `margin` tokens away, the cut is
        between two characters within the margin. It is at most 65,536 characters after the last
        safe place.

        Returns:
            The NFC form up to the cut, and its exact tokens. A text of at most `cap` tokens is
            returned unchanged with its tokens. Without the vocabulary the text is returned
            unchanged with min(bound, cap), and the service cuts it.
        """
        if not self.exact_available:
            return text, self.count(text, cap)
        kept, num_kept = "", 0
        rest = pieces(text, self._sizes)
        for piece in rest:
            text_of_call = piece.text[: self._sizes.max_characters]
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
            """Return the characters of the first tokens, with or without an incomplete last one."""
            return len(self._encoding.decode(tokens[:num_tokens], errors=partial))

        if cap == 0:
            return "", 0
        end = first_cut(text, length(cap, "replace"))
        if end > length(cap + margin, "ignore"):
            # Halfway into the margin: a cut that is not safe may change the tokens before it.
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
