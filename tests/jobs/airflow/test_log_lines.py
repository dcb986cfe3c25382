"""The lines of a command, as level and message."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.airflow.log_lines import LogLines
from jobs.console.logs import JsonFormatter
from pipeline.core.events import Event


def formatted(level: int, name: str, **fields: object) -> str:
    """Return the line that a command writes for an event."""
    record = logging.LogRecord("pipeline.room", level, "", 0, "%s", (Event(name, fields),), None)
    record.event, record.fields = name, fields
    return JsonFormatter().format(record)


@pytest.mark.parametrize(
    "level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL]
)
def test_an_event_keeps_its_level_and_reads_as_in_text(level: int) -> None:
    line = formatted(level, "request.retried", attempt=2, wait_s=1.5, code="503 busy", last=None)

    assert LogLines().read(line) == (
        level,
        "request.retried attempt=2 wait_s=1.5 code=503 busy last=null",
    )


def test_a_failure_is_told_by_its_message_and_remembered() -> None:
    lines = LogLines()
    line = '{"level":"error","event":"failed","exit_code":4,"message":"401: no","kind":"K"}'

    assert lines.read(line) == (logging.ERROR, "401: no")
    assert lines.failure == "401: no"


def test_a_record_of_a_library_is_told_by_its_message() -> None:
    record = logging.LogRecord("asyncio", logging.WARNING, "", 0, "slow %s", ("callback",), None)

    assert LogLines().read(JsonFormatter().format(record)) == (logging.WARNING, "slow callback")


def test_a_traceback_is_an_error_line_by_line_until_the_next_event() -> None:
    lines = LogLines()
    traceback = ["Traceback (most recent call last):", '  File "x"', "", "KeyError: 3"]

    read = [lines.read(line) for line in ["a note", *traceback, formatted(20, "run.ended"), "b"]]

    assert read == [
        (logging.WARNING, "a note"),
        *((logging.ERROR, line) for line in traceback),
        (logging.INFO, "run.ended"),
        (logging.WARNING, "b"),
    ]


def test_control_sequences_do_not_reach_the_log() -> None:
    assert LogLines().read("\x1b[31mred\x1b[0m \x07")[1] == "red \ufffd"
    assert LogLines().read(json.dumps({"event": "e", "name": "a\x1b[2Jb"}))[1] == "e name=ab"


@given(
    st.text()
    | st.recursive(st.none() | st.text(), lambda s: st.dictionaries(st.text(), s)).map(json.dumps)
)
def test_every_line_is_logged(line: str) -> None:
    level, message = LogLines().read(line)

    assert level in (logging.INFO, logging.WARNING, logging.ERROR)
    assert isinstance(message, str)
    assert message.count("\n") <= line.count("\n")
