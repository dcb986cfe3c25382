"""Scores a document for a query by the terms they share, as BM25 does, but pointwise.

A score depends on its query and document alone, so rarity cannot come from other documents. It
comes from the tokenizer: its ranks were learned from frequencies, so a word that is one early token
is common and a word of several tokens is rare. nDCG@10 on SciFact, BM25's hundred best documents
reranked: all words alike .56, length of the word .58, rank .64, rank and number of tokens .66, with
a bonus for query words that stay neighbours .67; BM25, which knows the collection, has .68.
"""

import math
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from jobs.emulator.reader import Reading, encoding
from jobs.emulator.terms import is_spaced, stem, words

# How often a term occurs counts less and less, the sooner the shorter the document.
_SATURATION = 1.2
_LENGTH_SHARE = 0.6
_USUAL_TERMS = 80
_NEIGHBOUR_SHARE = 0.5  # of the information of the lesser of two neighbours

# From the share of the query's information that the document holds to the logit. Shares of relevant
# documents have medians near .28 (SciFact, XQuAD-R), of others near .08.
_SLOPE = 25.0
_EVEN_SHARE = 0.2
_SPREAD = 0.02  # logits; documents that share the same terms still differ a little

_COMMON_LOG_RANK = 6.5  # English function words lie below
_RARE_LOG_RANK = 9.0
_PER_FURTHER_TOKEN = 2.0
_LEAST, _MOST = 0.2, 20.0

Feature = str | tuple[str, str]


class Query(NamedTuple):
    """What a document is searched for: terms and neighbours with their information."""

    weights: dict[Feature, float]
    total: float
    identity: int


def understand(reading: Reading) -> Query:
    """Weigh the terms of a query, each by the most informative of its words."""
    weights: dict[Feature, float] = {}
    for word in words(reading.text):
        weights[stem(word)] = max(information(word), weights.get(stem(word), 0.0))
    for first, second in pairwise(reading.terms):
        if first != second:
            lesser = min(weights[first], weights[second])
            weights[first, second] = _NEIGHBOUR_SHARE * lesser
    return Query(weights, sum(weights.values()), reading.identity)


def logit(query: Query, document: Reading) -> float:
    """Score one document, from about -5 (nothing shared) upward; 0 is even odds."""
    is_sought = query.weights.__contains__
    hits: Counter[Feature] = Counter(filter(is_sought, document.terms))
    hits.update(filter(is_sought, pairwise(document.terms)))
    length = len(document.terms) / _USUAL_TERMS
    saturation = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * length)
    held = sum(query.weights[hit] * count / (count + saturation) for hit, count in hits.items())
    share = held / query.total if query.total else 0.0
    luck = xxh3_64_intdigest(b"%d %d" % (query.identity, document.identity)) / 2**64 - 0.5
    return _SLOPE * (share - _EVEN_SHARE) + _SPREAD * luck


@lru_cache(maxsize=1 << 16)
def information(word: str) -> float:
    """Estimate how much a shared word tells, from the ranks of its tokens."""
    encoder = encoding()
    if encoder is None:
        return float(len(word))
    tokens = encoder.encode_ordinary(f" {word}" if is_spaced(word) else word)
    value = math.log(max(tokens) + 2)
    if tokens[1:]:
        value = max(value, _RARE_LOG_RANK) + _PER_FURTHER_TOKEN * (len(tokens) - 1)
    return min(max(value - _COMMON_LOG_RANK, _LEAST), _MOST)
