"""Log records on stderr and in a file, one line each, as text or as JSON objects.

Text: `YYYY-MM-DD HH:MM:SS level event field=value ...`, in local time.

JSON: an event (`pipeline.core.events.log_event`) becomes `time`, `level`, `event`, `logger` and the
event's own fields beside them; a field with one of these four names gets a trailing underscore. Any
other record, of a library or a warning, becomes `event: "log"` with its text as `message`.

A log that cannot be written, because of a full disk or a closed pipe, does not stop the command.
"""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from typing import Any, Final, TextIO

import orjson

from jobs.console.log_format import LogFormat, choose_format, current_format
from jobs.console.terminal_line import shown_line
from pipeline.core.errors import SettingsError
from pipeline.core.events import log_event
from pipeline.core.printable import escape_controls, make_printable

log = logging.getLogger(__name__)

_OWN_PACKAGES: Final = ("pipeline", "jobs")
_FIXED: Final = frozenset({"time", "level", "event", "logger"})
_JSON_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")
_SHOWN_BY_LINE: Final = frozenset(
    {"run.progress", "run.ended", "backfill.ended", "run.stopping", "load.progress"}
)


def configure(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Send log records to stderr, in place of all earlier handlers; failures use this format too.

    Args:
        log_format: Format of the lines.
        level: The lowest level shown of our own records; of libraries at least warnings.
    """
    choose_format(log_format)
    handler = _StderrHandler()
    _prepare(handler, level, log_format)
    root = logging.getLogger()
    for earlier in root.handlers:
        if isinstance(earlier, _LogFile):
            earlier.close()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    for name in _OWN_PACKAGES:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)


def add_file(name: str, level: int) -> None:
    """Also append log records to a file, which may be moved away meanwhile (logrotate).

    Args:
        name: The file. It holds JSON lines if its suffix says so, or if stderr does.
        level: As for `configure`.

    Raises:
        SettingsError: if it cannot be written.
    """
    is_json = current_format() == "json" or name.endswith(_JSON_SUFFIXES)
    try:
        handler = _LogFile(name, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        found = error.strerror
        raise SettingsError(f"cannot be written: {found}", which=f"--log-file {name}") from error
    _prepare(handler, level, "json" if is_json else "text")
    logging.getLogger().addHandler(handler)
    for package in _OWN_PACKAGES:
        logger = logging.getLogger(package)
        logger.setLevel(min(level, logger.level))


def record_failure(message: str, **fields: object) -> None:
    """Write the event `failed` into the log file, if there is one; stderr has its own line."""
    record = logging.makeLogRecord(
        {
            "name": "jobs",
            "levelno": logging.ERROR,
            "levelname": "ERROR",
            "msg": f"failed {message}",
            "event": "failed",
            "fields": {**fields, "message": message},
        }
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _LogFile):
            handler.handle(record)


def _prepare(handler: logging.Handler, level: int, log_format: LogFormat) -> None:
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(lambda record: record.levelno >= level or not _is_own(record))


def _is_own(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in _OWN_PACKAGES


def json_line(facts: Mapping[str, Any]) -> str:
    """Return the facts as one JSON object; values that JSON does not know become strings."""
    try:
        option = orjson.OPT_SERIALIZE_NUMPY
        return escape_controls(orjson.dumps(facts, default=str, option=option).decode())
    except orjson.JSONEncodeError:  # a file name that is not UTF-8, or an integer over 64 bits
        return json.dumps(facts, default=str)


def iso_time(moment: datetime) -> str:
    """Return the time in ISO 8601 with milliseconds."""
    return moment.isoformat(timespec="milliseconds")


def one_line(text: str) -> str:
    """Return the text printable, with each run of white space, line breaks included, as a blank."""
    return " ".join(make_printable(text).split())


class TextFormatter(logging.Formatter):
    """Formats a record as a line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        return f"{time} {record.levelname.lower():7} {one_line(record.getMessage())}"


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object, with an event's fields as its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        event: str | None = getattr(record, "event", None)
        fields: Mapping[str, object] = getattr(record, "fields", {})
        if event is None:
            event, fields = "log", {"message": one_line(record.getMessage())}
        return json_line(
            {
                "time": iso_time(datetime.fromtimestamp(record.created, UTC)),
                "level": record.levelname.lower(),
                "event": event,
                "logger": record.name,
                **{name + "_" * (name in _FIXED): value for name, value in fields.items()},
            }
        )


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is at that moment, above the progress line if there is one.

    While progress is shown as a line, its events are not.
    """

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        self.stream = sys.stderr
        line = shown_line()
        if line is None:
            super().emit(record)
        elif getattr(record, "event", None) not in _SHOWN_BY_LINE:
            with line.hidden():
                super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore a failed write to stderr: there is nowhere to report it."""


class _LogFile(WatchedFileHandler):
    """Appends to a file, and reports the first line that cannot be written on stderr."""

    has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Report once that the file cannot be written."""
        if not self.has_failed:
            self.has_failed = True
            error = sys.exc_info()[1]
            log_event(log, logging.WARNING, "log_file.not_written", error=str(error))
