"""A line on stderr before a command begins, in the chosen log format; stdout stays the result's."""

import contextlib
from datetime import UTC, datetime

import click

from jobs.console.log_format import current_format
from jobs.console.logs import iso_time, json_line, one_line


def report_note(text: str, *, event: str, **fields: object) -> None:
    """Write a sentence for people, or the event with its fields for machines."""
    line = f"rerank: {one_line(text)}"
    if current_format() == "json":
        facts = {"time": iso_time(datetime.now(UTC)), "level": "info", "event": event}
        line = json_line(facts | fields)
    with contextlib.suppress(OSError, ValueError):  # stderr is closed
        click.echo(line, err=True)
