"""Structured log events: a name, and fields that a machine can read."""

import logging
from collections.abc import Mapping

from msgspec import Struct


class Event(Struct, frozen=True):
    """One event; as text it reads `name field=value field=value`."""

    name: str
    fields: Mapping[str, object]

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.fields.items())])


def log_event(log: logging.Logger, level: int, name: str, /, **fields: object) -> None:
    """Log an event; every handler sees its text, and `record.event` and `record.fields` as data.

    Args:
        log: The logger of the calling module.
        level: As in `logging`.
        name: What happened, as `noun.verb`: `request.retry_scheduled`.
        fields: Numbers and short strings; never a text of a candidate, never a key.
    """
    if log.isEnabledFor(level):
        event = Event(name, fields)
        log.log(level, "%s", event, extra={"event": name, "fields": fields})
