"""`rerank plan`: estimate what a run would do and cost, without sending a request."""

from collections.abc import Iterator
from typing import Any

import click

from jobs.console.printing import emit_facts, emit_json, json_option, num, usd
from jobs.options.command import Command
from jobs.options.model_notes import model_notes
from jobs.options.run_options import settings_options
from jobs.options.settings import make_settings
from pipeline.core.settings import RunSettings

NO_ADDRESS = "http://plan.invalid"
"""The address of a provider that has none of its own; a plan sends nothing."""

_LIMITED_BY = {
    "requests_per_minute": "limited by the quota of requests",
    "tokens_per_minute": "limited by the quota of tokens",
}


@click.command(
    cls=Command,
    in_sections=True,
    examples=(
        "rerank plan sample_data/candidates.parquet",
        "rerank plan candidates/ --model gte-rerank-v2 --json",
    ),
)
@click.argument("input_name", metavar="INPUT")
@settings_options
@json_option
def plan(input_name: str, as_json: bool, **options: Any) -> None:
    """Estimate what `run` would do and cost with these options; sends nothing and needs no key.

    Score stores are not consulted: a run that finds answers there costs less. With `--reuse
    partial` a query whose old and new scores are not comparable can cost up to half more.
    """
    settings = make_settings(options, url=NO_ADDRESS)
    from pipeline.dataset.plan import plan_dataset
    from pipeline.dataset.run_input import opened_input

    with opened_input(input_name, settings) as (source, _):
        facts = plan_dataset(source, settings).as_json()
    if as_json:
        emit_json(facts)
    else:
        emit_facts([*_lines(facts, settings.profile.name), *_notes(settings)])


def _notes(settings: RunSettings) -> Iterator[tuple[str, str]]:
    return (("warning", note) for note in model_notes(settings))


def _lines(facts: dict[str, Any], model: str) -> Iterator[tuple[str, str]]:
    yield "input", f"{num(facts['files'], 'file')}, {facts['layout']}"
    if facts["skipped_files"]:
        more = ", ..." if facts["skipped_files"] > len(facts["skipped_examples"]) else ""
        names = ", ".join(facts["skipped_examples"]) + more
        yield "", f"{num(facts['skipped_files'], 'other file')} not read: {names}"
    if facts["files_beside"]:
        yield "", f"{num(facts['files_beside'], 'file')} of such a name beside it not read"
    yield "queries", f"{facts['groups']:,}"
    yield "candidates", f"{facts['candidates']:,}"
    if facts["repeated_ids"]:
        yield "", f"{facts['repeated_ids']:,} repeat a doc_id of their query; see --duplicates"
    yield "requests", f"{facts['requests']:,} to {model}"
    apart = ", without final requests" if facts["requests_max"] > facts["requests"] else ""
    if apart:
        queries = num(facts["split_groups"], "query takes", "queries take")
        final = f"{facts['requests_max']:,} with their final requests"
        yield "", f"up to {final}: {queries} several"
    ratio = facts["tokens_per_qwen_token"]
    about = "about " if ratio != 1 else ""
    if facts["search_units"]:
        yield (
            "billed",
            f"about {num(facts['search_units'], 'search unit')}, {usd(facts['cost_usd'])}{apart}",
        )
        yield "tokens", f"{about}{facts['tokens']:,}"
    else:
        yield "tokens", f"{about}{facts['tokens']:,}, {usd(facts['cost_usd'])}{apart}"
    if about:
        yield "", f"estimated: {model} has its own tokenizer, {ratio:g} tokens for one of Qwen's"
    if facts["minutes"] is not None:
        yield "takes", f"{_duration(facts['minutes'])}; {_LIMITED_BY[facts['bound_by']]}"
    queries = num(facts["truncated_queries"], "query", "queries")
    yield "truncated", f"{about}{num(facts['truncated_documents'], 'document')}, {queries}"
    yield "not sent", f"{facts['skipped']:,} without text or query, {facts['rejected']:,} too long"
    for name, kind in facts["widened_columns"].items():
        yield "column", f"{name!r} becomes {kind}: its types differ in the files"


def _duration(minutes: float) -> str:
    if minutes < 1:
        return f"{60 * minutes:,.0f} s"
    return f"{minutes:,.1f} minutes" if minutes < 100 else f"{minutes / 60:,.1f} hours"
