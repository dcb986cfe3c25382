"""`rerank status`: how far a run is, or how it ended; works while it runs and after a crash."""

from collections.abc import Iterator, Sequence
from typing import Any

import click
from msgspec.structs import replace

from jobs.console.backfill_status import (
    is_backfill,
    read_backfill_status,
    show_backfill_status,
)
from jobs.console.printing import emit_facts, emit_json, json_option, num, usd
from jobs.console.requests import describe_billed, describe_sent, describe_unanswered
from jobs.options.command import Command
from jobs.options.config_file import config_option
from pipeline.core.errors import InputError
from pipeline.output.layout import SUCCESS_NAME
from pipeline.output.lock.lock import is_held
from pipeline.output.manifest import read_manifest
from pipeline.output.part_info import PartInfo, read_part_infos
from pipeline.output.run_records import RunRecord, read_run_records
from pipeline.output.shard_plan import ShardPlan, read_shard_plan
from pipeline.storage.location import Location, locate

_SUMMED = (
    *("requests", "requests_sent", "requests_failed", "throttled", "requests_reused"),
    *("total_tokens", "search_units", "cost_usd", "unanswered", "unanswered_usd", "retries"),
)
"""Numbers that are summed over all runs on the output, to give its whole cost."""


@click.command(cls=Command, examples=("rerank status out/sample",))
@click.argument("output")
@json_option
@config_option
def status(output: str, as_json: bool) -> None:
    """Show how far the run on OUTPUT is, or how it ended; for OUTPUT_ROOT those of a backfill."""
    place = locate(output)
    if is_backfill(place):
        facts = read_backfill_status(place)
        show = emit_json if as_json else show_backfill_status
        show(facts)
        return
    facts = read_status(place)
    if as_json:
        emit_json(facts)
    else:
        emit_facts(_lines(facts))


def read_status(output: Location) -> dict[str, Any]:
    """Read the state of an output from its parts and from the records of the runs on it.

    Returns:
        `state` (`running`, `interrupted`, `failed`, `partial` or `done`); the counts that `run`
        reports; requests, tokens and cost summed over all runs; of the last run `rate`, in
        requests per second, and `error`.

    Raises:
        InputError: if there is no output of this job.
    """
    manifest = read_manifest(output)
    if manifest is None:
        raise InputError(
            "not an output of `rerank run`: it has no _manifest.json",
            which=output.name,
            cure="name the OUTPUT of a run",
        )
    parts = read_part_infos(output, manifest.fingerprint).values()
    runs = read_run_records(output)
    last = runs[-1] if runs else RunRecord(run_id="", started="")
    state = _state(output, last)
    plan = read_shard_plan(output, manifest.fingerprint)
    if plan is not None:
        last = _of_all_shards(runs, last, plan)
    return {
        "state": state,
        "shards": None if plan is None else plan.count,
        "shards_done": None if plan is None else _shards_done(plan, list(parts)),
        "groups": last.groups,
        "groups_done": sum(part.num_groups for part in parts),
        "parts": last.parts,
        "parts_done": len(parts),
        "candidates": last.candidates,
        "candidates_done": last.candidates_done,
        "rejected": sum(part.num_rejected for part in parts),
        "skipped": sum(part.num_skipped for part in parts),
        **{name: sum(getattr(run, name) for run in runs) for name in _SUMMED},
        "last_run_usd": last.cost_usd,
        "all_runs_usd": sum(run.spent_usd for run in runs),
        "runs": len(runs),
        "outage_s": last.outage_s if state == "running" else 0.0,
        "rate": round(last.requests / last.seconds, 2) if last.seconds else 0.0,
        "started": last.started or None,
        "updated": last.updated,
        "error": last.error if state != "done" else None,
    }


def _state(output: Location, last: RunRecord) -> str:
    """Return the last record's state, corrected if its run was killed or its result removed."""
    if last.state == "running" and is_held(output):
        return last.state
    if last.state not in ("running", "done"):
        return last.state
    return "done" if output.child(SUCCESS_NAME).exists() else "interrupted"


def _of_all_shards(runs: Sequence[RunRecord], last: RunRecord, plan: ShardPlan) -> RunRecord:
    """Return a record of what the last run of each shard did together."""
    latest = {run.shard: run for run in runs if run.shard and run.shard.endswith(f"/{plan.count}")}
    sizes = [run.candidates for run in latest.values()]
    known = [size for size in sizes if size is not None]
    return replace(
        last,
        groups=plan.num_groups,
        parts=len(plan.parts),
        candidates=sum(known) if len(known) == plan.count else None,
        candidates_done=sum(run.candidates_done for run in latest.values()),
        cost_usd=sum(run.cost_usd for run in latest.values()),
        requests=sum(run.requests for run in latest.values()),
        seconds=max((run.seconds for run in latest.values()), default=0.0),
    )


def _shards_done(plan: ShardPlan, parts: Sequence[PartInfo]) -> int:
    """Return how many shards have all their parts."""
    unfinished = {plan.owner(index, plan.count) for index in plan.missing(parts)}
    return plan.count - len(unfinished)


def _lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "state", facts["state"]
    if facts["shards"] is not None:
        all_done = facts["shards_done"] == facts["shards"] and facts["state"] != "done"
        cure = "; finish with rerank commit" if all_done else ""
        yield "shards", f"{_of(facts['shards_done'], facts['shards'])} written{cure}"
    yield "candidates", f"{_of(facts['candidates_done'], facts['candidates'])} ranked"
    yield "queries", f"{_of(facts['groups_done'], facts['groups'])} written"
    yield "parts", f"{_of(facts['parts_done'], facts['parts'])} written"
    yield "without score", f"{facts['rejected']:,} rejected, {facts['skipped']:,} skipped"
    yield "sent", f"{describe_sent(facts)} in {num(facts['runs'], 'run')}"
    yield "paid", f"{describe_billed(facts)}, {usd(facts['cost_usd'])}"
    if facts["runs"] > 1:
        yield "last run paid", usd(facts["last_run_usd"])
        yield "all runs", f"up to {usd(facts['all_runs_usd'])}"
    if facts["unanswered"]:
        yield "perhaps paid", describe_unanswered(facts)
    yield "reused", f"{num(facts['requests_reused'], 'answer')} from the score store"
    if facts["started"]:
        yield "last run", f"{facts['started']} to {facts['updated']}"
        yield "rate", f"{facts['rate']:,.1f} requests/s in it"
    if facts["outage_s"]:
        yield "service", f"down for {facts['outage_s']:,.0f} s"
    if facts["error"]:
        yield "last error", facts["error"]


def _of(done: int, total: int | None) -> str:
    return f"{done:,}" if total is None else f"{done:,} of {total:,}"
