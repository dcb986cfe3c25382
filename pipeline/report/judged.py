"""An output against judgements: measures with confidence intervals, and gains per query."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from msgspec import Struct

from pipeline.core.arrays import FloatArray
from pipeline.evaluation.evaluate import Evaluation, evaluate_output
from pipeline.evaluation.judgements import read_judgements
from pipeline.output.reader import WrittenOutput
from pipeline.report.examples import NUM_QUERIES, Examples, ShownQuery

if TYPE_CHECKING:
    from ir_measures import Measure

CONFIDENCE: Final = 0.95
MAX_GAINS: Final = 240
"""Bars of the chart of gains; of more queries, so many are taken at even distances."""


class Interval(Struct, frozen=True):
    """A mean and its confidence interval; equal to the mean where it cannot be estimated."""

    low: float
    mean: float
    high: float


class JudgedMeasure(Struct, frozen=True, kw_only=True):
    """One measure over all judged queries.

    Attributes:
        before: None if the order before is not known, as is `change`.
        p_value: Of the paired test of the change, adjusted to the number of measures.
        improved: Queries whose value rose.
        degraded: Queries whose value fell.
    """

    name: str
    before: Interval | None
    after: Interval
    change: Interval | None
    p_value: float | None
    improved: int | None
    degraded: int | None


class Judged(Struct, frozen=True, kw_only=True):
    """The result of the judgements.

    Attributes:
        evaluation: The result of `rerank evaluate`.
        gains: Changes of the first measure, falling; at most `MAX_GAINS` of them.
        best: The queries that gained most.
        worst: The queries that lost most, the worst first.
    """

    evaluation: Evaluation
    measures: tuple[JudgedMeasure, ...]
    gains: Sequence[float]
    best: Sequence[ShownQuery]
    worst: Sequence[ShownQuery]


def judge(
    output: WrittenOutput,
    qrels_name: str,
    measures: Sequence["Measure"],
    *,
    input_name: str | None,
    examples: Examples,
) -> Judged:
    """Evaluate an output.

    Raises:
        InputError: as `evaluate_output`.
    """
    evaluation = evaluate_output(output, qrels_name, measures, input_name=input_name)
    first = evaluation.by_query.filter(measure=str(measures[0]))
    known = first.filter(pl.col("change").is_not_null())
    changes = known["change"].to_numpy()
    best = known.filter(pl.col("change") > 0).head(NUM_QUERIES)
    worst = known.filter(pl.col("change") < 0).tail(NUM_QUERIES).reverse()
    shown = pl.concat([best, worst])
    judgements = read_judgements(qrels_name).join(shown, on="query_id", how="semi")
    return Judged(
        evaluation=evaluation,
        measures=tuple(_measures(evaluation)),
        gains=spread(changes, MAX_GAINS).tolist(),
        best=examples.show(_figures(best), judgements),
        worst=examples.show(_figures(worst), judgements),
    )


def interval(values: FloatArray) -> Interval:
    """Return the mean and its 95 % confidence interval, by Student's t distribution."""
    from scipy.special import stdtrit

    mean = float(values.mean()) if len(values) else 0.0
    if len(values) < 2:
        return Interval(mean, mean, mean)
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    reach = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * error
    return Interval(mean - reach, mean, mean + reach)


def spread(values: FloatArray, most: int) -> FloatArray:
    """Return at most so many of the values, at even distances, the first and the last included."""
    if len(values) <= most:
        return values
    places = np.linspace(0, len(values) - 1, most).round().astype(np.int64)
    return values.take(places)


def _measures(evaluation: Evaluation) -> list[JudgedMeasure]:
    found = []
    for name, paired in evaluation.measures.items():
        own = evaluation.by_query.filter(measure=name)
        is_known = paired.change is not None
        found.append(
            JudgedMeasure(
                name=name,
                before=interval(own["before"].to_numpy()) if is_known else None,
                after=interval(own["after"].to_numpy()),
                change=interval(own["change"].to_numpy()) if is_known else None,
                p_value=paired.p_value_holm,
                improved=paired.improved,
                degraded=paired.degraded,
            )
        )
    return found


def _figures(queries: pl.DataFrame) -> Mapping[str, Mapping[str, float | None]]:
    names = ("measure", "before", "after", "change")
    return {
        row["query_id"]: {
            f"{row['measure']} before": row["before"],
            "after": row["after"],
            "change": row["change"],
        }
        for row in queries.select("query_id", *names).to_dicts()
    }
