"""The scorer: scores a document by the terms it shares with the query, as BM25 does, but pointwise.

A score depends on query and document alone, so the rarity of a word cannot come from a collection.
It comes from the tokenizer, whose ranks were learned from frequencies: a word of one early token is
common, a word of several tokens is rare. nDCG@10 on SciFact, BM25's top 100 reranked, by weight of
a word: equal .56, its length .58, token rank .64, rank and number of tokens .66, the same with a
bonus for query words that stay adjacent .67; BM25 itself, which knows the collection, has .68.
"""

import math
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from jobs.emulator.reader import Reading, encoding
from jobs.emulator.terms import is_spaced, stem, words

# Repeated occurrences of a term saturate, sooner in shorter documents (as in BM25).
_SATURATION = 1.2
_LENGTH_SHARE = 0.6
_USUAL_TERMS = 80
_NEIGHBOUR_SHARE = 0.5  # of the information of the less informative of two neighbours

# Map the share of the query's information that a document holds to its logit. The median share is
# about .28 for relevant documents (SciFact, XQuAD-R) and .08 for others.
_SLOPE = 25.0
_EVEN_SHARE = 0.2
_SPREAD = 0.02  # logits, so that documents that share the same terms differ slightly

_COMMON_LOG_RANK = 6.5  # English function words are below
_RARE_LOG_RANK = 9.0
_PER_FURTHER_TOKEN = 2.0
_LEAST, _MOST = 0.2, 20.0

Feature = str | tuple[str, str]


class Query(NamedTuple):
    """A query as weights: the information of its terms and of its pairs of neighbours."""

    weights: dict[Feature, float]
    total: float
    identity: int


def weigh_query(reading: Reading) -> Query:
    """Return the weights of a query; a term weighs as much as its most informative word."""
    weights: dict[Feature, float] = {}
    for word in words(reading.text):
        weights[stem(word)] = max(information(word), weights.get(stem(word), 0.0))
    for first, second in pairwise(reading.terms):
        if first != second:
            lesser = min(weights[first], weights[second])
            weights[first, second] = _NEIGHBOUR_SHARE * lesser
    return Query(weights, sum(weights.values()), reading.identity)


def logit(query: Query, document: Reading) -> float:
    """Return the logit of one document: about -5 if it shares nothing, 0 for even odds."""
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
    """Estimate the information of a shared word from the ranks of its tokens."""
    encoder = encoding()
    if encoder is None:
        return float(len(word))
    tokens = encoder.encode_ordinary(f" {word}" if is_spaced(word) else word)
    value = math.log(max(tokens) + 2)
    if tokens[1:]:
        value = max(value, _RARE_LOG_RANK) + _PER_FURTHER_TOKEN * (len(tokens) - 1)
    return min(max(value - _COMMON_LOG_RANK, _LEAST), _MOST)
