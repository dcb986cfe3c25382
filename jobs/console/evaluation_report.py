"""Output of `evaluate` and `compare`: tables for people, or facts for JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from msgspec import to_builtins

from jobs.console.printing import emit, emit_table
from pipeline.evaluation.compare import JudgedComparison, UnjudgedComparison
from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.paired import PairedMeasure

Judged = Evaluation | JudgedComparison

NUM_EXTREMES = 5
"""How many of the most improved, most degraded or most changed queries are shown."""

_ID_LENGTH = 40


def judged_facts(result: Judged, *, show_all: bool) -> dict[str, Any]:
    """Return measures, queries and notes for JSON."""
    first = _first_measure(result)
    columns = ["query_id", "before", "after", "change"]
    every = {"all": first.select(columns).to_dicts()} if show_all else {}
    return {
        "measures": to_builtins(result.measures),
        "best": _best(first).select(columns).to_dicts(),
        "worst": _worst(first).select(columns).to_dicts(),
        **every,
        "notes": list(result.notes),
    }


def show_judged(title: str, result: Judged, orders: tuple[str, str], *, show_all: bool) -> None:
    """Print measures and queries.

    Args:
        title: The first line.
        result: What to print.
        orders: What `before` and `after` are called.
        show_all: Whether all queries are printed, instead of those that changed most.
    """
    _show_title(title, result.notes)
    header = ("measure", *orders, "change", "p-value", "p (Holm)", "improved", "degraded")
    emit_table(header, [tuple(_cells(*item)) for item in result.measures.items()])
    first = _first_measure(result)
    name = next(iter(result.measures))
    tables = [(f"queries by {name}", first)]
    if not show_all:
        tables = [(f"improved in {name}", _best(first)), (f"degraded in {name}", _worst(first))]
    for heading, queries in tables:
        if not queries.is_empty():
            emit("")
            rows = queries.select("query_id", "before", "after", "change").iter_rows()
            emit_table((heading, *orders, "change"), [_query_cells(*row) for row in rows])


def agreement_facts(result: UnjudgedComparison, *, show_all: bool) -> dict[str, Any]:
    """Return figures of agreement, queries and notes for JSON."""
    every = {"all": result.by_query.to_dicts()} if show_all else {}
    return {
        "agreement": to_builtins(result.agreement),
        "most_changed": _most_changed(result).to_dicts(),
        **every,
        "notes": list(result.notes),
    }


def show_agreement(title: str, result: UnjudgedComparison, *, show_all: bool) -> None:
    """Print figures of agreement, and the queries that agree least."""
    _show_title(title, result.notes)
    rows = [
        (name, _number(figure.mean), _number(figure.median), f"{figure.queries:,}")
        for name, figure in result.agreement.items()
    ]
    emit_table(("agreement", "mean", "median", "queries"), rows)
    queries = result.by_query if show_all else _most_changed(result)
    if not queries.is_empty():
        emit("")
        heading = "queries by RBO" if show_all else "changed most"
        emit_table(
            (heading, *result.agreement),
            [(_shown_id(id_), *map(_number, figures)) for id_, *figures in queries.iter_rows()],
        )


def _show_title(title: str, notes: Sequence[str]) -> None:
    emit(title)
    for note in notes:
        emit(f"note: {note}")


def _first_measure(result: Judged) -> pl.DataFrame:
    return result.by_query.filter(measure=next(iter(result.measures)))


def _best(queries: pl.DataFrame) -> pl.DataFrame:
    return queries.filter(pl.col("change") > 0).head(NUM_EXTREMES)


def _worst(queries: pl.DataFrame) -> pl.DataFrame:
    return queries.filter(pl.col("change") < 0).tail(NUM_EXTREMES).reverse()


def _most_changed(result: UnjudgedComparison) -> pl.DataFrame:
    return result.by_query.filter(pl.col("RBO") < 1).head(NUM_EXTREMES)


def _cells(name: str, measure: PairedMeasure) -> Iterator[str]:
    yield name
    yield _number(measure.before)
    yield _number(measure.after)
    yield _number(measure.change, signed=True)
    yield _p_value(measure.p_value)
    yield _p_value(measure.p_value_holm)
    yield "-" if measure.improved is None else f"{measure.improved:,}"
    yield "-" if measure.degraded is None else f"{measure.degraded:,}"


def _query_cells(
    query_id: str, before: float | None, after: float, change: float | None
) -> tuple[str, ...]:
    return _shown_id(query_id), _number(before), _number(after), _number(change, signed=True)


def _number(value: float | None, *, signed: bool = False) -> str:
    return "-" if value is None else f"{value:+,.4f}" if signed else f"{value:,.4f}"


def _p_value(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _shown_id(query_id: str) -> str:
    """Return an id for a terminal: shortened, and without control characters."""
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in query_id[: _ID_LENGTH + 1])
    return plain if len(plain) <= _ID_LENGTH else f"{plain[: _ID_LENGTH - 1]}…"
