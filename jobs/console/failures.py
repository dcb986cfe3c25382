"""The one line on stderr that says why a command ends."""

import contextlib
import os
import traceback
from datetime import UTC, datetime
from typing import Any

import click

from jobs.console.log_format import current_format

_TRACEBACK_VARIABLE = "RERANK_TRACEBACK"


def report_failure(
    message: str,
    *,
    code: int,
    kind: str = "",
    cure: str | None = None,
    error: BaseException | None = None,
) -> None:
    """Write one line, in the chosen log format, that says why the command ends.

    Args:
        message: What failed; line breaks become blanks.
        code: The exit code.
        kind: The error's class, for JSON.
        cure: What the user can do, appended to the message.
        error: An unexpected error; RERANK_TRACEBACK=1 prints its traceback.
    """
    # Here, since every command imports this module, and few of them fail.
    from jobs.console.logs import iso_time, json_line, one_line, record_failure

    line = one_line(message) + (f"; {cure}" if cure else "")
    record_failure(line, exit_code=code, **({"kind": kind} if kind else {}))
    if current_format() == "json":
        facts: dict[str, Any] = {"level": "error", "event": "failed"}
        facts |= {"exit_code": code, "message": line} | ({"kind": kind} if kind else {})
        line = json_line({"time": iso_time(datetime.now(UTC)), **facts})
    else:
        line = f"rerank: error: {line}"
    with contextlib.suppress(OSError, ValueError):  # stderr is closed; the exit code still tells
        click.echo(line, err=True)
        if error is not None and os.environ.get(_TRACEBACK_VARIABLE):
            traceback.print_exception(error)
