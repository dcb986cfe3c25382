"""`rerank status`: how far a run is, or how it ended; works while it runs and after a crash."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import click

from jobs.console.backfill_status import backfill_lines, read_backfill_status
from jobs.console.output_status import STATE_CODES, read_status
from jobs.console.printing import emit, emit_json, fact_lines, json_option, num, usd
from jobs.console.progress_line import LIMITED_BY, duration
from jobs.console.requests import describe_billed, describe_sent, describe_unanswered
from jobs.console.screen import redrawn
from jobs.options.command import Command
from jobs.options.config_file import config_option
from jobs.process.signals import raised_interrupts
from pipeline.core.errors import Interrupted
from pipeline.output.backfill_record import is_backfill
from pipeline.storage.location import Location, locate

WATCH_EVERY_S: Final = 2.0


@click.command(
    cls=Command,
    examples=(
        "rerank status out/sample",
        "rerank status reranked/ --watch",
        "rerank status s3://b/reranked/ --exit-code --json",
    ),
)
@click.argument("output")
@click.option("--watch", is_flag=True, help="Show it again every 2 seconds, until the run ends.")
@click.option(
    "--exit-code",
    is_flag=True,
    help="Exit with the state: 0 done, 20 running, 21 interrupted, 22 failed, 23 partial.",
)
@json_option
@config_option
@click.pass_context
def status(ctx: click.Context, output: str, watch: bool, exit_code: bool, as_json: bool) -> None:
    """Show how far the run on OUTPUT is, or how it ended, and what to do next.

    OUTPUT may be on an object store, and may be the OUTPUT_ROOT of a backfill. Requests, tokens and
    cost are those of all runs on it.
    """
    place = locate(output)
    facts = _watch(place, as_json=as_json) if watch else _read(place)
    if not (watch and as_json):
        _show(facts, as_json=as_json)
    if exit_code:
        ctx.exit(STATE_CODES[facts["state"]])


def _read(place: Location) -> dict[str, Any]:
    return read_backfill_status(place) if is_backfill(place) else read_status(place)


def _show(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json(facts)
        return
    for line in _lines(facts):
        emit(line)


def _lines(facts: dict[str, Any]) -> list[str]:
    return backfill_lines(facts) if "partitions" in facts else fact_lines(_facts(facts))


def _watch(
    place: Location, *, as_json: bool, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """Show the state, as lines of JSON or in place, until the run ends or Ctrl-C; return it."""
    facts = _read(place)
    is_terminal = sys.stdout.isatty() and not as_json
    with suppress(Interrupted), raised_interrupts():  # the usual end of watching
        with redrawn(sys.stdout, wanted=is_terminal) as draw:
            while facts["state"] == "running" or as_json:
                if as_json:
                    emit_json(facts)
                elif is_terminal:
                    draw(_lines(facts))
                else:
                    emit(_summary(facts))
                if facts["state"] != "running":
                    break
                sleep(WATCH_EVERY_S)
                facts = _read(place)
    return facts


def _summary(facts: dict[str, Any]) -> str:
    """Return the state in a few words, for a log."""
    percent = "" if facts.get("percent") is None else f", {facts['percent']:g} % paid"
    return f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {facts['state']}{percent}"


def _facts(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is known of one output, by name."""
    percent = facts["percent"]
    yield "state", facts["state"] + ("" if percent is None else f", {percent:g} % paid")
    if facts["shards"] is not None:
        yield "shards", f"{_of(facts['shards_done'], facts['shards'])} written"
    yield "candidates", f"{_of(facts['candidates_paid'], facts['candidates'])} paid"
    ranked = f"{_of(facts['groups_ranked'], facts['groups'])} ranked"
    yield "queries", f"{ranked}, {facts['groups_done']:,} written"
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
        yield "last run", f"{_local(facts['started'])} to {_local(facts['updated'])}"
        yield "speed", ", ".join(_speed(facts))
    if facts["outage_s"]:
        yield "service", f"down for {duration(facts['outage_s'])}"
    if facts["error"]:
        yield "last error", facts["error"] + f" (exit {facts['exit_code']})"
    elif facts["was_killed"]:
        yield "last error", "none is recorded: the process was killed, or its machine stopped"
    yield "next", facts["next"]


def _speed(facts: dict[str, Any]) -> Iterator[str]:
    yield f"{facts['requests_per_s']:,.1f} requests/s"
    if facts["seconds_left"] is not None:
        yield f"{duration(facts['seconds_left'])} left"
    if limit := LIMITED_BY.get(facts["limited_by"] or ""):
        yield limit


def _local(moment: str | None) -> str:
    """Return a time of a record, which is in UTC, in local time."""
    if moment is None:
        return "-"
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"


def _of(done: int, total: int | None) -> str:
    return f"{done:,}" if total is None else f"{done:,} of {total:,}"
