"""Lines that a command writes on stderr, as level and message for the log of a task.

Most are JSON objects (`--log-format json`). Other lines, such as the traceback of a crash, are kept
as they are.
"""

import json
import logging
from typing import Any, Final

from pipeline.core.printable import make_printable

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_OWN_FIELDS: Final = frozenset({"time", "level", "event", "logger"})
_CRASHES: Final = ("Traceback (most recent call last)", "Fatal Python error", "Exception ignored")


class LogLines:
    """Reads the lines of one command, in order.

    Attributes:
        failure: The message with which the command failed; None as long as it gave none.
    """

    def __init__(self) -> None:
        self.failure: str | None = None
        self._is_crash = False

    def read(self, line: str) -> tuple[int, str]:
        """Return level and message of a line.

        Lines that are not JSON objects are warnings, and errors from the start of a traceback on.
        """
        facts = _parse(line)
        if facts is None:
            self._is_crash |= line.startswith(_CRASHES)
            return logging.ERROR if self._is_crash else logging.WARNING, make_printable(line)
        self._is_crash = False
        if facts["event"] == "failed":
            self.failure = str(facts.get("message"))
        return _LEVELS.get(str(facts.get("level")), logging.INFO), make_printable(_text(facts))


def _parse(line: str) -> dict[str, Any] | None:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) and isinstance(facts.get("event"), str) else None


def _text(facts: dict[str, Any]) -> str:
    """Return `event field=value ...`, of a failure or a foreign record the message alone."""
    if facts["event"] in ("failed", "log") and "message" in facts:
        return str(facts["message"])
    fields = (f"{name}={_value(facts[name])}" for name in facts if name not in _OWN_FIELDS)
    return " ".join([facts["event"], *fields])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
