"""`rerank prepare`: make candidates of any form into one Parquet file that `run` reads."""

from typing import Any

import click

from jobs.console.printing import emit_facts, emit_json, json_option
from jobs.options.command import Command
from jobs.options.config_file import config_option
from jobs.options.prepare_options import PREPARE_OPTIONS
from jobs.options.settings import run_options


def _prepare_options(command: Any) -> Any:
    for option in reversed(PREPARE_OPTIONS):
        command = option(command)
    return config_option(json_option(command))


@click.command(
    cls=Command,
    examples=(
        "rerank prepare bm25.run long.parquet --corpus corpus.jsonl --queries q.tsv",
        "rerank prepare ids.csv long.parquet --corpus c/ --text-template '{title} {text}'",
        "rerank prepare shuffled.parquet long.parquet --sort-input",
    ),
)
@click.argument("input_name", metavar="CANDIDATES")
@click.argument("target", metavar="OUT.parquet")
@_prepare_options
def prepare(input_name: str, target: str, as_json: bool, **options: Any) -> None:
    """Make CANDIDATES into one Parquet file: converted, joined with texts, sorted.

    CANDIDATES is Parquet, JSON lines, CSV, TSV or a TREC run, by the suffix. `run` and `plan` do
    this by themselves where it is needed.
    """
    chosen = run_options(options)
    from pipeline.dataset.prepare import prepare_file

    facts = prepare_file(
        input_name,
        target,
        chosen.preparation,
        columns=chosen.columns,
        layout=chosen.layout,
        max_queries=chosen.limit,
    )
    if as_json:
        emit_json(facts)
    else:
        repeated = facts["repeated_ids"]
        again = [("", f"{repeated:,} repeat a doc_id of their query")] if repeated else []
        emit_facts([("rows", f"{facts['rows']:,}"), *again, ("output", target)])
