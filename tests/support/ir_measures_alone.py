"""ir-measures by itself, told ids and ranks as anybody would: what our measures must equal."""

from collections.abc import Iterable

import ir_measures
from ir_measures import Qrel, ScoredDoc

Row = tuple[str, str, int]
"""query_id, doc_id, and a rank or a relevance."""

_LAST = 1_000_000
"""trec_eval keeps scores in 32 bits, which tell no larger ones apart."""


def best_ranks(rows: Iterable[Row]) -> list[Row]:
    """Return each document of a query once, at its best rank."""
    best: dict[tuple[str, str], int] = {}
    for query_id, doc_id, rank in rows:
        best[query_id, doc_id] = min(rank, best.get((query_id, doc_id), rank))
    return [(*ids, rank) for ids, rank in best.items()]


def values_of(
    names: Iterable[str], rows: Iterable[Row], judged: Iterable[Row]
) -> dict[str, dict[str, float]]:
    """Return values by measure and query, one measure at a time.

    Args:
        names: Names of measures.
        rows: Rankings.
        judged: Judgements.
    """
    run = [ScoredDoc(query_id, doc_id, float(_LAST - rank)) for query_id, doc_id, rank in rows]
    qrels = [Qrel(*row) for row in judged]
    return {
        str(measure): {
            value.query_id: float(value.value)
            for value in ir_measures.iter_calc([measure], qrels, run)
        }
        for measure in map(ir_measures.parse_measure, names)
    }
