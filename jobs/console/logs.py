"""Log records on stderr, one line each, as text or as JSON objects.

Text: `HH:MM:SS level event field=value ...`, in local time.

JSON: an event (`pipeline.core.events.log_event`) becomes `time`, `level`, `event`, `logger` and the
event's own fields beside them; a field with one of these four names gets a trailing underscore. Any
other record, of a library or a warning, becomes `event: "log"` with its text as `message`.
"""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from jobs.console.log_format import LogFormat, choose_format
from pipeline.core.printable import escape_controls, make_printable

_OWN_PACKAGES = ("pipeline", "jobs")
_FIXED = frozenset({"time", "level", "event", "logger"})


def configure(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Send log records to stderr, in place of all earlier handlers; failures use this format too.

    Args:
        log_format: Of the lines.
        level: The lowest level shown of our own records; of libraries at least warnings.
    """
    choose_format(log_format)
    handler = _StderrHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    for name in _OWN_PACKAGES:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)


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
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
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
    """Writes to whatever `sys.stderr` is at that moment: a progress bar replaces it."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)
