"""Logs and failures on stderr, as lines for people or as JSON objects for machines."""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import click
import orjson

LogFormat = Literal["text", "json"]

_OPTION, _VARIABLE = "--log-format", "RERANK_RUN_LOG_FORMAT"
_format: LogFormat = "text"


def choose_format(log_format: str | None) -> None:
    """Tell failures in this format from now on."""
    global _format  # failures are told when the command is gone, or before it is found
    _format = "json" if log_format == "json" else "text"


def guess_format(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Choose the format for failures that come before the options are understood."""
    last = environment.get(_VARIABLE)
    for at, argument in enumerate(arguments):
        if argument == _OPTION and at + 1 < len(arguments):
            last = arguments[at + 1]
        elif argument.startswith(f"{_OPTION}="):
            last = argument.partition("=")[2]
    choose_format(last)


def _chosen(_: click.Context, __: click.Parameter, value: LogFormat) -> LogFormat:
    choose_format(value)
    return value


log_format_option = click.option(
    _OPTION,
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    is_eager=True,
    callback=_chosen,
    help="Format of logs and failures on stderr.",
)


def configure(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Send the logs to stderr in this format, and failures too."""
    choose_format(log_format)
    handler = _Stderr()
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries tell what is theirs to tell only when it is bad.
    root.setLevel(max(level, logging.WARNING))
    for name in ("pipeline", "jobs"):
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)


def tell_failure(
    message: str,
    *,
    code: int,
    kind: str = "",
    cure: str | None = None,
    error: BaseException | None = None,
) -> None:
    """Say in one line why the command ends; RERANK_TRACEBACK=1 adds where an unexpected one was."""
    line = _one_line(message) + (f"; {cure}" if cure else "")
    if _format == "json":
        facts: dict[str, Any] = {"level": "error", "event": "failed"}
        facts |= {"exit_code": code, "message": line} | ({"kind": kind} if kind else {})
        line = orjson.dumps({"time": _time(datetime.now(UTC)), **facts}).decode()
    else:
        line = f"rerank: error: {line}"
    with contextlib.suppress(OSError, ValueError):  # nobody listens; the exit code still tells
        click.echo(line, err=True)
        if error is not None and os.environ.get("RERANK_TRACEBACK"):
            traceback.print_exception(error)


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at that moment: a progress bar puts itself in its place."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        return f"{time} {record.levelname.lower():7} {_one_line(record.getMessage())}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return orjson.dumps(
            {
                "time": _time(datetime.fromtimestamp(record.created, UTC)),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage(),
            }
        ).decode()
