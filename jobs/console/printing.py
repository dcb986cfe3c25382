"""Output of reporting commands: aligned lines for people, or one JSON object with `--json`.

Results go to stdout. A reader that stops early, as `| head` does, is not a failure, and characters
that the terminal's encoding lacks are escaped.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from unicodedata import combining, east_asian_width

import click
import orjson

from jobs.options.help_page import option
from pipeline.core.events import log_event

log = logging.getLogger(__name__)

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """Add `--json`, passed to the command as `as_json`."""
    add = option(
        "--json", "as_json", is_flag=True, section="Display", help="Print one JSON object."
    )
    return add(command)


def emit(text: str) -> None:
    """Print a line on stdout."""
    try:
        click.echo(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding))
    except BrokenPipeError:
        _discard_stdout()


@contextmanager
def not_printed_is_no_failure() -> Iterator[None]:
    """Log a report that cannot be printed, and continue: the work itself is done."""
    try:
        yield
    except (OSError, ValueError) as error:  # a full disk, a closed stdout
        log_event(log, logging.WARNING, "report.not_printed", error=str(error))
        _discard_stdout()


def _discard_stdout() -> None:
    """Redirect stdout to the null device: Python flushes it again at exit, and would fail again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def emit_json(facts: Mapping[str, Any]) -> None:
    """Print `facts` as one JSON object on one line of stdout."""
    from pipeline.dataset.summary import SCHEMA_VERSION

    emit(orjson.dumps({"schema_version": SCHEMA_VERSION, **facts}).decode())


def emit_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print one line for each name and value, the values in one column; lines are never wrapped."""
    for line in fact_lines(facts):
        emit(line)


def fact_lines(facts: Iterable[tuple[str, str]]) -> list[str]:
    """Return the lines of `emit_facts`."""
    rows = list(facts)
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {value}".rstrip() for name, value in rows]


def emit_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns: the first aligned left, the others right."""
    for line in table_lines(header, rows):
        emit(line)


def table_lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of `emit_table`."""
    lines = [header, *rows]
    widths = [max(_num_cells(line[at]) for line in lines) for at in range(len(header))]
    for line in lines:
        gaps = [" " * (width - _num_cells(text)) for text, width in zip(line, widths, strict=True)]
        numbers = [gap + text for gap, text in zip(gaps[1:], line[1:], strict=True)]
        yield "  ".join([line[0] + gaps[0], *numbers]).rstrip()


def _num_cells(text: str) -> int:
    """Return how many cells of a terminal a text takes: two for a wide character."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(c) in "WF" else not combining(c) for c in text)


def num(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun: `1 part`, `1,200 parts`, `2 queries`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def usd(cost_usd: float) -> str:
    """Return an amount in cents from 100 dollars on, below with four decimals."""
    return f"${cost_usd:,.2f}" if cost_usd >= 100 else f"${cost_usd:,.4f}"
