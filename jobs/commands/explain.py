"""`rerank explain`: one query's candidates before and after, and why they stand there."""

import click

from jobs.console.printing import emit_json, json_option
from jobs.options.command import Command
from jobs.options.config_file import config_option


@click.command(
    cls=Command,
    examples=(
        "rerank explain out/sample --query-id en-05",
        "rerank explain reranked/ --query-id 007 --json",
    ),
)
@click.argument("output")
@click.option("--query-id", required=True, metavar="ID", help="Id of the query, as text.")
@click.option(
    "--input",
    "input_name",
    metavar="INPUT",
    help="Input of OUTPUT, for home requests and anchors. [default: where the last run found it]",
)
@click.option(
    "--score-store",
    metavar="STORE",
    help="Score store, for the service's own scores. [default: OUTPUT/_scores]",
)
@click.option("--all", "show_all", is_flag=True, help="Show all candidates, not the first 30.")
@json_option
@config_option
def explain(
    output: str,
    query_id: str,
    input_name: str | None,
    score_store: str | None,
    show_all: bool,
    as_json: bool,
) -> None:
    """Explain why the candidates of one query of OUTPUT are ranked as they are.

    Shows each candidate before and after, with its scores, its request, how sure its place is, and
    why it has no score. For OUTPUT_ROOT of a backfill, every partition that holds the query.
    """
    from msgspec import to_builtins

    from jobs.console.explain_report import show_explanation
    from pipeline.explain.explain import explain_query

    found = explain_query(output, query_id, input_name=input_name, score_store=score_store)
    if as_json:
        emit_json({"query_id": found[0].query_id, "explanations": to_builtins(found)})
        return
    for explanation in found:
        show_explanation(explanation, show_all=show_all)
