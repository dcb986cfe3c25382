"""`rerank load`: the result into a database or a search engine."""

import asyncio
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import asdict

from jobs.console.load_progress import load_progress
from jobs.console.log_options import log_options, set_up_log
from jobs.console.printing import emit_facts, emit_json, json_option, num
from jobs.options.command import Command
from jobs.options.config_file import config_option
from jobs.options.types import MINUTES
from jobs.process.signals import handled_by, reported
from pipeline.core.errors import Interrupted, SettingsError

if TYPE_CHECKING:
    from pipeline.export.load import LoadSummary

DEFAULT_NAME = "reranked"
DEFAULT_OUTAGE_MIN = 10.0


@click.command(
    cls=Command,
    examples=(
        "rerank load reranked/ --to duckdb:///reranked.duckdb",
        "rerank load reranked/ --to postgresql://me@db.example/search --mode replace",
        "rerank load reranked/ --to elasticsearch://es.example:9200 --index ranked",
    ),
)
@click.argument("output")
@click.option("--to", required=True, metavar="URL", help="Address of the system to load into.")
@click.option("--table", help=f"Table of a database. [default: {DEFAULT_NAME}]")
@click.option("--index", help=f"Index of a search engine. [default: {DEFAULT_NAME}]")
@click.option(
    "--mode",
    type=click.Choice(["upsert", "replace"]),
    default="upsert",
    show_default=True,
    help="Add and change rows, or also remove rows of reloaded queries that are gone.",
)
@click.option(
    "--max-outage",
    type=MINUTES,
    metavar="MINUTES",
    help="Minutes for which the server may be down. [default: 10, half a minute at the start]",
)
@click.option("--partial", is_flag=True, help="Load an OUTPUT that is not finished.")
@log_options
@json_option
@config_option
def load(
    output: str,
    to: str,
    table: str | None,
    index: str | None,
    mode: str,
    max_outage: float | None,
    partial: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Load OUTPUT into a database or a search engine, each row once.

    OUTPUT is that of a run, or the OUTPUT_ROOT of a backfill. URL is postgresql://HOST/DATABASE,
    duckdb:///FILE, elasticsearch://HOST or opensearch://HOST, without credentials. The same command
    continues an interrupted load.
    """
    shown = set_up_log(options)
    logging.getLogger("opensearch").setLevel(logging.ERROR)  # it warns of a missing index
    from pipeline.export.targets.address import make_target, scheme_of

    system = scheme_of(to)
    name = _name(system, table, index)
    target = make_target(to)
    from pipeline.export.load import START_OUTAGE_S, Load, LoadPatience
    from pipeline.export.result import open_result

    patience = LoadPatience(
        max_outage_s=60 * (max_outage or DEFAULT_OUTAGE_MIN),
        at_start_s=60 * max_outage if max_outage else START_OUTAGE_S,
    )
    result = open_result(output, partial=partial)
    may_be_line = shown.log_format == "text" and not shown.quiet
    with _noted_interrupts() as noted, load_progress(may_be_line=may_be_line) as on_part:
        job = Load(
            result,
            target,
            to=to,
            table_name=name,
            mode="replace" if mode == "replace" else "upsert",
            patience=patience,
            check=noted.check,
        )
        summary = job.run(on_part)
    if as_json:
        emit_json({"to": to, "table": name, "mode": mode, **asdict(summary)})
        return
    if not shown.quiet:
        emit_facts(_lines(summary, f"{to}, {name}"))


def _lines(summary: "LoadSummary", where: str) -> Iterator[tuple[str, str]]:
    rate = summary.rows / max(summary.seconds, 1e-9)
    took = f"{summary.seconds:,.1f} s" + (f", {rate:,.0f} rows/s" if summary.rows else "")
    yield "loaded", f"{num(summary.rows, 'row')} of {num(summary.parts_loaded, 'part')}, {took}"
    if summary.repeated:
        yield "left out", num(summary.repeated, "repeated doc_id")
    if summary.parts_before:
        yield "before", f"{num(summary.parts_before, 'part')} (remove {summary.record} to reload)"
    yield "into", where


def _name(system: str, table: str | None, index: str | None) -> str:
    """Return the table or index.

    Raises:
        SettingsError: for the option of the other kind of system, or a name that cannot be.
    """
    is_engine = system in ("elasticsearch", "opensearch")
    given, other = (index, table) if is_engine else (table, index)
    if other is not None:
        option = "--table" if is_engine else "--index"
        raise SettingsError(f"has no meaning for {system}", which=option)
    name = DEFAULT_NAME if given is None else given
    if is_engine:
        from pipeline.export.index_names import check_index

        return check_index(name)
    if not all(name.split(".")) or name.count(".") > 1 or not name.isprintable():
        raise SettingsError(
            "not a table", which="--table", found=repr(name), expected="TABLE or SCHEMA.TABLE"
        )
    return name


class _Noted:
    """A handler of signals that stops a load, also if a client library catches what it raises.

    In the event loop of a search engine's client it cancels the request instead, since an exception
    raised there by a handler may be lost.
    """

    def __init__(self) -> None:
        self._number: signal.Signals | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            Interrupted: unless an event loop runs.
        """
        self._number = reported(number)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.check()
        else:
            loop.call_soon_threadsafe(_cancel_tasks, loop)

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self._number is not None:
            raise Interrupted(self._number)


@contextmanager
def _noted_interrupts() -> Iterator[_Noted]:
    noted = _Noted()
    with handled_by(noted):
        try:
            yield noted
        except asyncio.CancelledError:
            noted.check()
            raise


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
