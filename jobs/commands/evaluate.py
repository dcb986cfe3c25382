"""`rerank evaluate`: measure an output against judgements, before and after reranking.

Both orders are evaluated by rank, not by score: trec_eval sorts a TREC run by score and breaks ties
by doc_id, which would change the order of candidates with equal scores.
"""

from collections.abc import Iterable
from typing import Any

import click
import polars as pl

from jobs.console.printing import emit, emit_json, emit_table, json_option, num
from jobs.options.config_file import config_option
from pipeline.core.errors import InputError, SettingsError
from pipeline.output.reader import read_columns

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100")
NUM_EXTREMES = 5
"""How many of the most improved and of the most degraded queries are listed."""


@click.command()
@click.argument("output")
@click.option("--qrels", required=True, help="Parquet with query_id, doc_id, relevance.")
@click.option(
    "--measure",
    "measures",
    multiple=True,
    default=DEFAULT_MEASURES,
    show_default=True,
    help="Measure, by its ir-measures name; repeatable. The first one sorts the queries.",
)
@json_option
@config_option
def evaluate(output: str, qrels: str, measures: tuple[str, ...], as_json: bool) -> None:
    """Measure OUTPUT against judgements, before reranking and after."""
    result = compare(output, qrels, measures)
    if as_json:
        emit_json(result)
    else:
        _show(result)


def compare(output: str, qrels: str, measures: Iterable[str]) -> dict[str, Any]:
    """Measure both orders of an output.

    A judged query that is missing from the output counts as 0 in both orders.

    Returns:
        `queries`: the number of judged queries; `measures`: for each name the means `before` and
        `after`, the p-value of a paired t-test over the queries, and how many queries improved and
        degraded; `best` and `worst`: the queries whose first measure changed most.

    Raises:
        InputError: if a file cannot be read, or if no judged query is in the output.
        SettingsError: for an unknown measure.
    """
    parsed = [_parse(name) for name in measures]
    judged = read_columns(qrels, ("query_id", "doc_id", "relevance"))
    ranked = read_columns(output, ("query_id", "doc_id", "rank", "first_stage_rank"))
    judged, ranked = (
        frame.with_columns(pl.col("query_id", "doc_id").cast(pl.String))
        for frame in (judged, ranked)
    )
    if ranked.join(judged, on="query_id", how="semi").is_empty():
        raise InputError("has judgements for none of the output's queries", which=qrels)
    before = _per_query(parsed, judged, ranked, "first_stage_rank")
    after = _per_query(parsed, judged, ranked, "rank")
    both = before.join(after, on=["measure", "query_id"], suffix="_after")
    first = str(parsed[0])
    change = (
        both.filter(pl.col("measure") == first)
        .with_columns(change=pl.col("value_after") - pl.col("value"))
        .sort("change", "query_id")
    )
    named = [
        {"query_id": row["query_id"], "before": row["value"], "after": row["value_after"]}
        for row in change.iter_rows(named=True)
        if row["change"] != 0
    ]
    return {
        "queries": judged["query_id"].n_unique(),
        "measures": {
            str(measure): _paired(both.filter(pl.col("measure") == str(measure)))
            for measure in parsed
        },
        "best": [row for row in reversed(named[-NUM_EXTREMES:]) if row["after"] > row["before"]],
        "worst": [row for row in named[:NUM_EXTREMES] if row["after"] < row["before"]],
    }


def _parse(name: str) -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise SettingsError(
            "needs the extra `evaluate`", cure="pip install 'rerank-pipeline[evaluate]'"
        ) from error
    try:
        return ir_measures.parse_measure(name)
    except (ValueError, NameError) as error:
        raise SettingsError(
            "unknown measure", which="--measure", found=name, expected="nDCG@10, RR@10, R@100, ..."
        ) from error


def _per_query(
    measures: list[Any], judged: pl.DataFrame, ranked: pl.DataFrame, rank_column: str
) -> pl.DataFrame:
    """Return columns measure, query_id, value: a row for each measure and judged query."""
    import ir_measures

    qrels = [ir_measures.Qrel(*row) for row in judged.iter_rows()]
    run = [
        ir_measures.ScoredDoc(query_id, doc_id, -float(rank))
        for query_id, doc_id, rank in ranked.select("query_id", "doc_id", rank_column).iter_rows()
    ]
    rows = [
        (str(m.measure), m.query_id, m.value) for m in ir_measures.iter_calc(measures, qrels, run)
    ]
    return pl.DataFrame(rows, schema=["measure", "query_id", "value"], orient="row")


def _paired(values: pl.DataFrame) -> dict[str, Any]:
    from scipy.stats import ttest_rel

    before, after = values["value"].to_numpy(), values["value_after"].to_numpy()
    changed = bool((before != after).any()) and len(before) > 1
    return {
        "before": float(before.mean()),
        "after": float(after.mean()),
        "p_value": float(ttest_rel(after, before).pvalue) if changed else None,
        "improved": int((after > before).sum()),
        "degraded": int((after < before).sum()),
    }


def _show(result: dict[str, Any]) -> None:
    emit(num(result["queries"], "judged query", "judged queries"))
    header = ("measure", "before", "after", "change", "p-value", "improved", "degraded")
    emit_table(header, [_cells(name, values) for name, values in result["measures"].items()])
    for title in ("best", "worst"):
        queries = ", ".join(
            f"{row['query_id']} {row['before']:.2f} -> {row['after']:.2f}" for row in result[title]
        )
        emit(f"{title}: {queries or '-'}")


def _cells(name: str, values: dict[str, Any]) -> tuple[str, ...]:
    before, after, p_value = values["before"], values["after"], values["p_value"]
    return (
        name,
        f"{before:.4f}",
        f"{after:.4f}",
        f"{after - before:+.4f}",
        "-" if p_value is None else f"{p_value:.2g}",
        str(values["improved"]),
        str(values["degraded"]),
    )
