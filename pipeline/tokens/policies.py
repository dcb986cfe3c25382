"""From Qwen token counts to weights of a model that counts in another vocabulary.

A request fits if num_documents x (query weight + pair overhead) + sum(document weights) is at most
fill x max_tokens_per_request.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import IntArray

_SPECIALS = 2  # tokens round an item


class CountingPolicy(Struct, frozen=True, kw_only=True):
    """How a model's tokens follow from Qwen counts.

    Attributes:
        ratio: Tokens of the model for one Qwen token, from above; 1 for the vocabulary itself.
        characters_suffice: Whether a text has at most a token a character, as in a unigram model.
        pair_overhead: Tokens that a pair of query and document has beside theirs.
        fill: Part of the request's limit that may be used.
        cut_factor: A text is cut at this many times its limit in Qwen tokens, so that the service,
            which may need fewer of its own for it, finds all it would keep.
    """

    ratio: float = 1.0
    characters_suffice: bool = False
    pair_overhead: int = 0
    fill: float = 1.0
    cut_factor: int = 1

    @property
    def _is_plain(self) -> bool:
        return self.ratio == 1.0 and not self.characters_suffice

    def document_weights(self, qwen_counts: IntArray, code_points: IntArray) -> IntArray:
        """Weigh documents, or anything else, by their Qwen counts (or bounds) and their lengths."""
        if self._is_plain:
            return qwen_counts
        weights: IntArray = np.ceil(self.ratio * qwen_counts).astype(np.int64)
        return np.minimum(weights, code_points + _SPECIALS) if self.characters_suffice else weights

    def query_weight(self, qwen_count: int, code_points: int) -> int:
        """Weigh a query."""
        if self._is_plain:
            return qwen_count
        return int(self.document_weights(np.array([qwen_count]), np.array([code_points]))[0])

    def documents_budget(self, max_tokens: int, num_documents: int, pair_tokens: int) -> int:
        """Return the Qwen tokens that documents may have whose weights are to fit `max_tokens`.

        Args:
            max_tokens: What may be used of a request.
            num_documents: How many documents it holds.
            pair_tokens: What each takes beside its own weight.
        """
        rounded_up = int(self.ratio != 1.0)
        return int((max_tokens - num_documents * (pair_tokens + rounded_up)) / self.ratio)


QWEN = CountingPolicy()
"""The documented formula with exact counts is the limit."""

XLM_R = CountingPolicy(ratio=1.3, characters_suffice=True, pair_overhead=4, fill=0.98, cut_factor=4)
"""gte-rerank-v2: XLM-R needs 1.04 to 1.23 times as many tokens for groups of 100 natural texts."""

POLICIES: Mapping[str, CountingPolicy] = MappingProxyType({"qwen": QWEN, "xlm-r": XLM_R})
"""The policies by the tokenizer's name in a model's profile."""
