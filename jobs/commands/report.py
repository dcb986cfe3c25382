"""`rerank report`: one page that shows what a run did, what bound it, and whether it helped."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from jobs.console.printing import emit_facts, emit_json, json_option
from jobs.options.command import Command
from jobs.options.config_file import config_option
from jobs.options.evaluation_options import QRELS_HELP
from pipeline.core.errors import OutputFailed, SettingsError
from pipeline.evaluation.measures import DEFAULT_MEASURES, parse_measures

if TYPE_CHECKING:
    from pipeline.output.reader import WrittenOutput
    from pipeline.report.costs import PlannedCost


@click.command(
    cls=Command,
    examples=(
        "rerank report out/sample --qrels sample_data/qrels.parquet",
        "rerank report tonight/ --against last_night/ -o tonight.html",
    ),
)
@click.argument("output")
@click.option(
    "-o", "--output-file", metavar="FILE", help="Page to write. [default: OUTPUT/_report.html]"
)
@click.option("--qrels", metavar="FILE", help=QRELS_HELP)
@click.option("--against", metavar="OTHER", help="Another output of the same queries.")
@click.option(
    "--measure",
    "measures",
    multiple=True,
    metavar="NAME",
    help="Measure by its ir-measures name; repeatable. The first one sorts the queries. "
    f"[default: {', '.join(DEFAULT_MEASURES)}]",
)
@click.option(
    "--input",
    "input_name",
    metavar="INPUT",
    help="Input of OUTPUT, for texts, the plan, and the order before where --top-n cut OUTPUT.",
)
@json_option
@config_option
def report(
    output: str,
    output_file: str | None,
    qrels: str | None,
    against: str | None,
    measures: tuple[str, ...],
    input_name: str | None,
    as_json: bool,
) -> None:
    """Write one page with charts about OUTPUT: its runs, their cost, and its ranking.

    The page is one file that needs no network and no script. It works for an OUTPUT in any state.
    With judgements it shows whether the ranking got better. For OUTPUT_ROOT of a backfill, sums and
    a row for each partition.
    """
    parsed = parse_measures(measures or DEFAULT_MEASURES) if qrels is not None else []
    from pipeline.output.reader import open_output
    from pipeline.report.backfill import make_backfill_report
    from pipeline.report.file import locate_page, write_page
    from pipeline.report.report import Request, make_report
    from pipeline.report.words import size
    from pipeline.storage.location import locate

    file, now = locate_page(output, output_file), datetime.now(UTC)
    if _is_backfill(output):
        _refuse_for_backfill({"--qrels": qrels, "--against": against, "--input": input_name})
        page = make_backfill_report(locate(output), now, has_links=output_file is None)
    else:
        found = open_output(output)
        asked = Request(
            qrels_name=qrels,
            measures=parsed,
            against=None if against is None else open_output(against),
            input_name=input_name,
            planned=None if input_name is None else _planned(found, input_name),
            made_at=now,
        )
        page = make_report(found, asked)
    size_bytes = write_page(file, page)
    if as_json:
        emit_json({"report": file.name, "size_bytes": size_bytes})
    else:
        emit_facts([("report", f"{file.name} ({size(size_bytes)})")])


def _is_backfill(output: str) -> bool:
    from pipeline.output.backfill_record import is_backfill
    from pipeline.storage.location import locate

    try:
        return bool(output) and is_backfill(locate(output))
    except OutputFailed:  # `open_output` says why
        return False


def _refuse_for_backfill(options: Mapping[str, str | None]) -> None:
    for name, value in options.items():
        if value is not None:
            raise SettingsError(
                "is for one OUTPUT, not for all partitions of a backfill",
                which=name,
                cure="name the OUTPUT of one partition, OUTPUT_ROOT/KEY=VALUE",
            )


def _planned(output: "WrittenOutput", input_name: str) -> "PlannedCost | None":
    """Return the plan of the input; None of a large one, which takes long to plan."""
    from pipeline.dataset.plan import plan_dataset
    from pipeline.evaluation.first_stage import find_input
    from pipeline.explain.replay import recorded_settings
    from pipeline.report.costs import MAX_PLANNED, PlannedCost

    source = find_input(output, input_name)
    if source.num_rows > MAX_PLANNED:
        return None
    try:
        settings = recorded_settings(output.manifest.settings)
    except SettingsError:  # of another version: nothing can be planned as it was
        return None
    plan = plan_dataset(source, settings)
    return PlannedCost(requests=plan.requests, tokens=plan.tokens, cost_usd=plan.cost_usd)
