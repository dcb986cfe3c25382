"""`rerank compare`: two outputs of the same queries, with judgements or without."""

from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import asdict

from jobs.console.printing import emit_json, num
from jobs.options.command import Command
from jobs.options.evaluation_options import (
    QRELS_HELP,
    agreement_gate,
    evaluation_options,
    judged_measures,
)

if TYPE_CHECKING:
    from pipeline.evaluation.compare import Shared
    from pipeline.output.reader import WrittenOutput
    from pipeline.storage.location import Location


@click.command(
    cls=Command,
    examples=(
        "rerank compare tonight/ last_night/",
        "rerank compare instruct_a/ instruct_b/ --qrels test.tsv",
        "rerank compare tonight/ last_night/ --fail-under overlap@10=0.5",
    ),
)
@click.argument("output")
@click.argument("other")
@click.option("--qrels", metavar="FILE", help=QRELS_HELP)
@evaluation_options
def compare(
    output: str, other: str, qrels: str | None, per_query: str | None, **options: Any
) -> None:
    """Compare OUTPUT with OTHER, an output of the same queries.

    With judgements: the measures of both; a change is OUTPUT - OTHER. Without: overlap of the
    first ten, rank-biased overlap (p = 0.9) and Kendall's tau, where --fail-under takes the least
    mean of overlap@10, RBO or tau.
    """
    from pipeline.evaluation.per_query import locate_per_query

    read = [output, other, *([qrels] if qrels else [])]
    file = locate_per_query(per_query, apart_from=read) if per_query is not None else None
    if qrels is None:
        _unjudged(output, other, file, **options)
    else:
        _judged(output, other, qrels, file, **options)


def _judged(
    output: str,
    other: str,
    qrels: str,
    file: "Location | None",
    *,
    measures: tuple[str, ...],
    fail_under: tuple[str, ...],
    fail_if_worse: bool,
    show_all: bool,
    as_json: bool,
) -> None:
    parsed, gate = judged_measures(measures, fail_under, fail_if_worse=fail_if_worse)
    from jobs.console.evaluation_report import judged_facts, show_judged
    from pipeline.evaluation.compare import compare_judged
    from pipeline.evaluation.gate import missed, raise_missed, refuse_unfinished
    from pipeline.evaluation.per_query import write_per_query
    from pipeline.output.reader import open_output

    one, two = open_output(output), open_output(other)
    refuse_unfinished(gate, one, two)
    result = compare_judged(one, two, qrels, parsed)
    if file is not None:
        write_per_query(file, result.by_query)
    misses = missed(gate, result.measures)
    if as_json:
        facts = _facts(one, two, result.shared)
        emit_json(facts | judged_facts(result, show_all=show_all) | gate.facts(misses))
    else:
        title = _title(result.shared, "judged query", "judged queries")
        show_judged(title, result, ("OTHER", "OUTPUT"), show_all=show_all)
    raise_missed(misses)


def _unjudged(
    output: str,
    other: str,
    file: "Location | None",
    *,
    measures: tuple[str, ...],
    fail_under: tuple[str, ...],
    fail_if_worse: bool,
    show_all: bool,
    as_json: bool,
) -> None:
    gate = agreement_gate(measures, fail_under, fail_if_worse=fail_if_worse)
    from jobs.console.evaluation_report import agreement_facts, show_agreement
    from pipeline.evaluation.compare import compare_unjudged
    from pipeline.evaluation.gate import below, raise_missed, refuse_unfinished
    from pipeline.evaluation.per_query import write_per_query
    from pipeline.output.reader import open_output

    one, two = open_output(output), open_output(other)
    refuse_unfinished(gate, one, two)
    result = compare_unjudged(one, two)
    if file is not None:
        write_per_query(file, result.by_query)
    misses = below(gate, {name: figure.mean for name, figure in result.agreement.items()})
    if as_json:
        facts = _facts(one, two, result.shared)
        emit_json(facts | agreement_facts(result, show_all=show_all) | gate.facts(misses))
    else:
        show_agreement(_title(result.shared, "query", "queries"), result, show_all=show_all)
    raise_missed(misses)


def _facts(one: "WrittenOutput", two: "WrittenOutput", shared: "Shared") -> dict[str, Any]:
    facts = asdict(shared)
    return facts | {"finished": one.is_finished, "other_finished": two.is_finished}


def _title(shared: "Shared", noun: str, plural: str) -> str:
    title = f"{num(shared.queries, noun, plural)} in both outputs"
    for count, where in (
        (shared.only_output, "only in OUTPUT"),
        (shared.only_other, "only in OTHER"),
        (shared.missing, "in neither"),
    ):
        title += f", {count:,} {where}" if count else ""
    return title
