"""Count search units, which some vendors bill instead of tokens."""

import numpy as np

from pipeline.core.arrays import IntArray
from pipeline.core.billing import SearchUnits


def count_chunks(
    rule: SearchUnits, query_tokens: IntArray | int, document_tokens: IntArray
) -> IntArray:
    """Return how many times each document counts, int64.

    Args:
        rule: How the vendor counts.
        query_tokens: Tokens of the query, of which at most half a chunk counts. One for all
            documents, or one for each.
        document_tokens: int64, tokens of each document, as many as the service reads.
    """
    if rule.chunk_tokens is None:
        return np.ones_like(document_tokens)
    room = rule.chunk_tokens - np.minimum(query_tokens, rule.chunk_tokens // 2)
    chunks: IntArray = np.maximum(-(-document_tokens // room), 1)
    return chunks


def count_search_units(rule: SearchUnits, num_chunks: IntArray) -> IntArray:
    """Return the search units of requests, int64, by the chunks of their documents together."""
    if rule.documents is None:
        return np.ones_like(num_chunks)
    units: IntArray = -(-num_chunks // rule.documents)
    return units
