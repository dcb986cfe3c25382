"""Compute measures per query with ir-measures, from ranks alone.

ir-measures gets neither ids nor scores: a document is named by its place in the ranking, and its
score decreases with its place. trec_eval orders equal scores by doc_id, keeps scores in 32 bits and
truncates ids at a NUL; by place none of this matters. Rankings of equal length share one table.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from pipeline.evaluation.measures import local_provider

if TYPE_CHECKING:
    from ir_measures import Measure

_RANK_BITS = 32
_NOT_RELEVANT = "not relevant"
"""A document that no ranking holds, added to queries with only negative judgements: trec_eval never
finishes the nDCG of such a query. It changes no measure."""


class Scorer:
    """Computes measures of rankings that arrive in pieces.

    Args:
        measures: Each measure once.
        judgements: As `read_judgements` returns them.

    Attributes:
        num_repeated: Rows ignored because their document has a better rank in the same query.
        num_found: Judged documents found in the rankings.
    """

    def __init__(self, measures: Sequence["Measure"], judgements: pl.DataFrame) -> None:
        self.num_repeated = 0
        self.num_found = 0
        self._measures = list(measures)
        self._queries = judgements.select(pl.col("query_id").unique().sort())
        self._queries = self._queries.with_row_index("number")
        self._judgements = judgements.join(self._queries, on="query_id").drop("query_id")
        self._provider = local_provider()
        self._batches = _batches(measures)
        self._tables: dict[int, dict[str, float]] = {}
        self._names: list[str] = []
        numbers = pl.DataFrame({"number": []}, schema={"number": pl.UInt32})
        columns = {str(measure): pl.Series([], dtype=pl.Float64) for measure in measures}
        self._values = [numbers.with_columns(**columns)]

    def add(self, rankings: pl.DataFrame) -> None:
        """Score the judged queries of these rankings.

        Args:
            rankings: `query_id` and `doc_id` (strings) and `rank`; all rows of each query, in any
                order. Of a repeated doc_id the best rank counts. Equal ranks are ordered by
                descending doc_id, as trec_eval orders equal scores.
        """
        own = rankings.join(self._queries, on="query_id").select("number", "doc_id", "rank")
        if own.is_empty():
            return
        placed = _places(own)
        self.num_repeated += own.height - placed.height
        sizes = placed.group_by("number", maintain_order=True).len()
        judged = self._judgements.join(sizes, on="number", how="semi")
        judged = judged.join(placed, on=["number", "doc_id"], how="left")
        self.num_found += judged["place"].count()
        self._values.append(self._score(sizes, judged))

    def values(self, query_ids: pl.Series | None = None) -> pl.DataFrame:
        """Return the values per query.

        Args:
            query_ids: The queries to return; one without a ranking has the values of an empty
                ranking. None: all judged queries that have a ranking.

        Returns:
            `query_id` and a float column for each measure, sorted by query_id.
        """
        values = self._queries.join(pl.concat(self._values), on="number").drop("number")
        if query_ids is not None:
            defaults = [pl.col(str(m)).fill_null(float(m.DEFAULT)) for m in self._measures]
            asked = pl.DataFrame({"query_id": query_ids})
            values = asked.join(values, on="query_id", how="left").with_columns(defaults)
        return values.sort("query_id")

    def _score(self, sizes: pl.DataFrame, judged: pl.DataFrame) -> pl.DataFrame:
        numbers = sizes["number"].to_list()
        qrels: dict[str, dict[str, int]] = {str(number): {} for number in numbers}
        lengths = dict(zip(qrels, sizes["len"].to_list(), strict=True))
        self._name_places(max(lengths.values()))
        rows = judged.select("number", "place", "relevance").iter_rows()
        for at, (number, place, relevance) in enumerate(rows):
            name = f"absent {at}" if place is None else self._names[place]
            qrels[str(number)][name] = relevance
        for grades in qrels.values():
            if max(grades.values()) < 0:
                grades[_NOT_RELEVANT] = 0
        values: dict[Measure, dict[str, float]] = {measure: {} for measure in self._measures}
        for depth, measures in self._batches:
            run = {query: self._table(min(size, depth)) for query, size in lengths.items()}
            for found in self._provider.iter_calc(measures, qrels, run):
                # IPrec(judged_only=True) is NaN for a ranking without a judged document.
                value = found.value if math.isfinite(found.value) else found.measure.DEFAULT
                values[found.measure][found.query_id] = float(value)
        columns = {str(m): [of_m[query] for query in qrels] for m, of_m in values.items()}
        return pl.DataFrame(
            {"number": numbers, **columns},
            schema={"number": pl.UInt32, **dict.fromkeys(columns, pl.Float64)},
        )

    def _name_places(self, size: int) -> None:
        self._names += [str(place) for place in range(len(self._names), size)]

    def _table(self, size: int) -> dict[str, float]:
        """Return the scores of a ranking of this length, by place.

        They are positive, since Compat gives 0 to documents that are not in the ranking.
        """
        if size not in self._tables:
            self._tables[size] = {self._names[place]: float(size - place) for place in range(size)}
        return self._tables[size]


def _places(rankings: pl.DataFrame) -> pl.DataFrame:
    """Return `number`, `doc_id` and `place`, from 0 in each query, each document once."""
    best = rankings.group_by("number", "doc_id").agg(pl.col("rank").min())
    key = pl.col("number").cast(pl.Int64) * 2**_RANK_BITS + pl.col("rank")
    best = best.with_columns(key=key).sort("key")  # one integer sorts faster than two columns
    if best.select((pl.col("key") == pl.col("key").shift()).any()).item():
        best = best.sort("key", "doc_id", descending=[False, True])
    return best.select("number", "doc_id", place=pl.col("key").cum_count().over("number") - 1)


def _batches(measures: Sequence["Measure"]) -> list[tuple[int, list["Measure"]]]:
    """Group the measures that can be computed together, with the number of places they look at.

    A measure with gains or `judged_only` is computed alone: in company, ir-measures may use its
    parameters for nDCG and NumRet too, depending on the order of a set.
    """
    batches: dict[tuple[int, str], list[Measure]] = {}
    for measure in measures:
        parameters = measure.params
        judged_only = parameters.get("judged_only", False)
        everything = judged_only or "cutoff" not in parameters
        depth = 2**_RANK_BITS if everything else parameters["cutoff"]
        alone = str(measure) if judged_only or "gains" in parameters else ""
        batches.setdefault((depth, alone), []).append(measure)
    return [(depth, some) for (depth, _), some in batches.items()]


def aggregate(measure: Any, values: pl.Series) -> float:
    """Return a measure over all queries: its mean, or its sum if it is a count."""
    from ir_measures import SumAgg

    total = values.sum() if isinstance(measure.aggregator(), SumAgg) else values.mean()
    assert isinstance(total, float)
    return total
