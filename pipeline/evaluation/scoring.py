"""Values of measures for each query, computed by ir-measures from ranks alone.

ir-measures is told neither ids nor scores. A document is named by its place in the ranking, and
its score falls with its place: trec_eval orders equal scores by doc_id, whatever the ranking says,
and cuts an id at a NUL. So rankings of the same length share one table of scores.
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
"""An absent document for queries whose judgements are all below 0: trec_eval computes the nDCG of
such a query for ever. No measure changes by it."""


class Scorer:
    """Collects the values of measures over rankings that come in pieces.

    Args:
        measures: Each measure once.
        judgements: As `read_judgements` returns them.

    Attributes:
        num_repeated: Rows left out because their document stands at a better place of the query.
        num_found: Judged documents that are in the rankings.
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
            rankings: `query_id` and `doc_id` (strings) and `rank`, whole queries, in any order.
                Equal ranks of a query are ordered by doc_id, backwards, as trec_eval orders equal
                scores. Of a doc_id that a query holds several times the best rank counts.
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
        """Return the values, a column for each measure.

        Args:
            query_ids: Which queries; one that is in no ranking has the measure's value for an
                empty one. None: the judged queries of the rankings.

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
                # NaN is a precision of nothing: IPrec(judged_only=True) where nothing is judged.
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

        They are above 0, which is what Compat takes an absent document to have.
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
    """Return measures to compute at once, with the number of places that they look at.

    Measures with gains or `judged_only` stand alone: ir-measures may compute nDCG and NumRet with
    the parameters of another measure, by the order of a set.
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
    """Return a measure over all queries: the mean, or the sum where it counts something."""
    from ir_measures import SumAgg

    total = values.sum() if isinstance(measure.aggregator(), SumAgg) else values.mean()
    assert isinstance(total, float)
    return total
