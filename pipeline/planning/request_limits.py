"""The limits of one request: documents, tokens and bytes."""

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import IntArray


class RequestLimits(Struct, frozen=True, kw_only=True):
    """The limits of one request.

    Its tokens are counted as (query_tokens + pair_overhead) x documents + document tokens,
    its bytes as query_bytes + document bytes. A document takes one of its `max_documents` places,
    or several where a request holds fewer documents of that kind.
    """

    max_documents: int
    max_tokens: int
    max_bytes: int
    query_tokens: int
    pair_overhead: int = 0
    query_bytes: int = 0

    @property
    def pair_tokens(self) -> int:
        """Tokens that a document takes besides its own."""
        return self.query_tokens + self.pair_overhead

    @property
    def tokens_alone(self) -> int:
        """Tokens that a document alone in a request may have."""
        return self.max_tokens - self.pair_tokens

    @property
    def bytes_alone(self) -> int:
        """Bytes that a document alone in a request may take."""
        return self.max_bytes - self.query_bytes

    def load(self, places: IntArray, tokens: IntArray, sizes: IntArray) -> IntArray:
        """Return the share of each document in a request, int64[3, n]: places, tokens, bytes."""
        return np.stack((places, tokens + self.pair_tokens, sizes))

    @property
    def capacity(self) -> IntArray:
        """The room for the documents of a request, int64[3, 1]: places, tokens, bytes."""
        capacity = (self.max_documents, self.max_tokens, self.max_bytes - self.query_bytes)
        return np.array(capacity, dtype=np.int64)[:, None]

    def fits(
        self,
        num_documents: int,
        document_tokens: int,
        document_bytes: int,
        *,
        num_places: int | None = None,
    ) -> bool:
        """Return whether documents with these sums fit one request; by default one place each."""
        return (
            (num_documents if num_places is None else num_places) <= self.max_documents
            and num_documents * self.pair_tokens + document_tokens <= self.max_tokens
            and self.query_bytes + document_bytes <= self.max_bytes
        )
