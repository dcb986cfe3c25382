"""Agreement of two rankings of a query, without judgements.

* overlap@10: the share of documents in common among the first ten, or fewer if both are shorter.
* RBO: rank-biased overlap with p = .9, extrapolated, for lists of different lengths: equation 32 of
  Webber, Moffat and Zobel, "A similarity measure for indefinite rankings", ACM TOIS 28 (2010),
  doi 10.1145/1852102.1852106. Its first ten places have 86 % of the weight.
* tau: Kendall's tau-b of the documents in common, undefined for fewer than two. Places have no
  ties, so it is 1 - 2 x inversions / pairs.
"""

import numpy as np
import polars as pl

from pipeline.core.arrays import FloatArray, IntArray

DEPTH = 10
P = 0.9
_DIGITS = 12
"""Digits of RBO that are kept: rounding errors removed, equal rankings have exactly 1."""
NAMES = (f"overlap@{DEPTH}", "RBO", "tau")


def compare_rankings(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Compare the rankings of the queries that both have.

    Args:
        one: `query_id`, `doc_id` and `rank`, in whole queries. Of a repeated doc_id the best rank
            counts.
        other: The same.

    Returns:
        `query_id` and a float column for each of `NAMES`, sorted by query_id.
    """
    first, second = _places(one), _places(other)
    sizes = (
        first.group_by("query_id")
        .len("size")
        .join(second.group_by("query_id").len("other_size"), on="query_id")
    )
    sizes = sizes.sort("query_id").with_row_index("number")
    common = first.join(second, on=["query_id", "doc_id"]).join(sizes, on="query_id")
    common = common.sort("number", "place")
    number = common["number"].to_numpy().astype(np.int64)
    places = common["place"].to_numpy(), common["place_right"].to_numpy()
    lengths = sizes["size"].to_numpy(), sizes["other_size"].to_numpy()
    short, long = np.minimum(*lengths).astype(np.int64), np.maximum(*lengths).astype(np.int64)
    figures = (
        _overlap(number, np.maximum(*places), long),
        _rbo(number, np.maximum(*places), short, long),
        _tau(number, places[1], len(short)),
    )
    columns = {name: pl.Series(f).fill_nan(None) for name, f in zip(NAMES, figures, strict=True)}
    return sizes.select("query_id").with_columns(**columns)


def _places(rankings: pl.DataFrame) -> pl.DataFrame:
    """Return `query_id`, `doc_id` and `place`, from 1 in each query, each document once."""
    best = rankings.group_by("query_id", "doc_id").agg(pl.col("rank").min())
    place = pl.col("rank").rank("ordinal").over("query_id").cast(pl.Int64)
    return best.select("query_id", "doc_id", place=place)


def _overlap(number: IntArray, depth: IntArray, long: IntArray) -> FloatArray:
    """Return overlap@10; `depth` is the worse of the two places of a common document."""
    both = np.bincount(number[depth <= DEPTH], minlength=len(long))
    overlap: FloatArray = both / np.minimum(long, DEPTH)
    return overlap


def _rbo(number: IntArray, depth: IntArray, short: IntArray, long: IntArray) -> FloatArray:
    """Return RBO; sums over depths are differences of cumulative sums."""
    depths = np.arange(1, max(long.max(initial=0), 1) + 1)
    weights = np.append(0.0, np.cumsum(P**depths))  # sum of p^d up to each depth
    shares = np.append(0.0, np.cumsum(P**depths / depths))  # sum of p^d / d
    num_queries = len(long)
    agreed = np.bincount(number, shares[long[number]] - shares[depth - 1], num_queries)
    at_long = np.bincount(number, minlength=num_queries)
    at_short = np.bincount(number[depth <= short[number]], minlength=num_queries)
    beyond = weights[long] - weights[short] - short * (shares[long] - shares[short])
    tail = (at_long - at_short) / long + at_short / short
    rbo: FloatArray = (1 - P) / P * (agreed + at_short / short * beyond) + tail * P**long
    return np.clip(np.round(rbo, _DIGITS), 0.0, 1.0)


def _tau(number: IntArray, places: IntArray, num_queries: int) -> FloatArray:
    """Return tau of the common documents, given in the order of the first ranking."""
    size = np.bincount(number, minlength=num_queries)
    pairs = size * (size - 1) / 2
    inversions = _inversions(number, places, num_queries)
    with np.errstate(invalid="ignore"):
        return 1 - 2 * inversions / pairs


def _inversions(number: IntArray, places: IntArray, num_queries: int) -> FloatArray:
    """Count the pairs of places in descending order, for all queries at once.

    Two different places have a highest bit in which they differ. So for each bit, among places with
    equal higher bits, in their order: count the ones that precede each zero.
    """
    inversions = np.zeros(num_queries)
    num_bits = int(places.max(initial=0)).bit_length()
    for bit in range(num_bits):
        above = (number << (num_bits - bit)) | (places >> (bit + 1))
        order = np.argsort(above, kind="stable")
        block, is_one = above[order], (places[order] >> bit) & 1
        ones = np.cumsum(is_one) - is_one
        starts = np.flatnonzero(np.append(True, block[1:] != block[:-1])[: len(block)])
        sizes = np.diff(np.append(starts, len(block)))
        before = ones - np.repeat(ones[starts], sizes)
        inversions += np.bincount(number[order], before * (1 - is_one), num_queries)
    return inversions
