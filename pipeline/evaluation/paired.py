"""Compare two rankings of the same queries, query by query."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from pipeline.core.arrays import FloatArray
from pipeline.evaluation.scoring import aggregate

if TYPE_CHECKING:
    from ir_measures import Measure

SIGNIFICANT_P = 0.05
ROUNDING = 1e-12
"""Smaller differences are rounding errors."""


class PairedMeasure(Struct, frozen=True, kw_only=True):
    """One measure before and after; without a ranking before, all but `after` are None.

    Attributes:
        before: The measure over all queries, before.
        after: The same, after.
        change: after - before.
        p_value: Of a two-sided paired t-test over the queries; None if all queries changed by the
            same amount, for which the test is undefined.
        p_value_holm: The p-value adjusted for the number of measures, see `holm`.
        improved: Queries whose value rose.
        degraded: Queries whose value fell.
    """

    before: float | None = None
    after: float
    change: float | None = None
    p_value: float | None = None
    p_value_holm: float | None = None
    improved: int | None = None
    degraded: int | None = None


def compare_measures(
    measures: Sequence["Measure"], before: pl.DataFrame | None, after: pl.DataFrame
) -> dict[str, PairedMeasure]:
    """Compare each measure, by name.

    Args:
        measures: The measures.
        before: Values as `Scorer.values` returns them; None if they are not known.
        after: Values of the same queries in the same order.
    """
    found = [
        _compare(measure, None if before is None else before[str(measure)], after[str(measure)])
        for measure in measures
    ]
    adjusted = holm(measure.p_value for measure in found)
    return {
        str(measure): replace(one, p_value_holm=p_value)
        for measure, one, p_value in zip(measures, found, adjusted, strict=True)
    }


def _compare(measure: "Measure", before: pl.Series | None, after: pl.Series) -> PairedMeasure:
    second = aggregate(measure, after)
    if before is None:
        return PairedMeasure(after=second)
    first = aggregate(measure, before)
    changes = (after - before).to_numpy()
    return PairedMeasure(
        before=first,
        after=second,
        change=second - first,
        p_value=t_test(changes),
        improved=int((changes > ROUNDING).sum()),
        degraded=int((changes < -ROUNDING).sum()),
    )


def t_test(changes: FloatArray) -> float | None:
    """Return the p-value of a two-sided paired t-test, given the differences of the pairs.

    None for fewer than two pairs, and if all differences are equal.
    """
    from scipy.special import stdtr

    if len(changes) < 2 or np.ptp(changes) <= ROUNDING * max(1.0, np.abs(changes).max()):
        return None
    error = changes.std(ddof=1) / math.sqrt(len(changes))
    return float(2 * stdtr(len(changes) - 1, -abs(changes.mean() / error)))


def holm(p_values: Iterable[float | None]) -> list[float | None]:
    """Adjust the p-values of several tests by Holm's step-down method; keep their order.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979). A test without a p-value does not count.
    """
    given = list(p_values)
    tests = sorted((p, at) for at, p in enumerate(given) if p is not None)
    adjusted: list[float | None] = [None] * len(given)
    least = 0.0
    for rank, (p, at) in enumerate(tests):
        least = max(least, min(1.0, (len(tests) - rank) * p))
        adjusted[at] = least
    return adjusted


def by_query(
    measures: Sequence["Measure"], before: pl.DataFrame | None, after: pl.DataFrame
) -> pl.DataFrame:
    """Return the values as a table, with a row per measure and query.

    Returns:
        `query_id`, `measure`, `before`, `after` and `change`; measures in their order, each sorted
        by falling change. `before` and `change` are null where there is only one order.
    """
    frames = []
    for name in map(str, measures):
        nothing = pl.lit(None, dtype=pl.Float64)
        first = nothing if before is None else before[name]
        frame = after.select(
            "query_id", measure=pl.lit(name), before=first, after=name, change=pl.col(name) - first
        )
        frames.append(frame.sort(["change", "query_id"], descending=[True, False]))
    return pl.concat(frames)
