"""Log lines: events with their own fields as JSON, one readable line as text."""

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.logging_state import restored_logging

from jobs.console.logs import JsonFormatter, configure
from pipeline.core.events import log_event

log = logging.getLogger("pipeline.room.module")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    with restored_logging():
        yield


def logged(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the one JSON line on stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    facts: dict[str, Any] = json.loads(line)
    return facts


def test_an_event_has_its_fields_at_the_top_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")

    log_event(log, logging.WARNING, "request.retried", attempt=2, wait_s=1.5, code="503", last=None)

    facts = logged(capsys)
    assert facts.pop("time").endswith("+00:00")
    assert facts == {
        "level": "warning",
        "event": "request.retried",
        "logger": "pipeline.room.module",
        "attempt": 2,
        "wait_s": 1.5,
        "code": "503",
        "last": None,
    }


def test_a_field_with_a_fixed_name_gets_an_underscore(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    fields = {"time": 3, "level": "high", "event": "e", "logger": "l", "message": "kept"}

    log_event(log, logging.INFO, "pace.changed", **fields)

    facts = logged(capsys)
    assert facts["event"] == "pace.changed"
    assert {name: facts[name + "_"] for name in ("time", "level", "event", "logger")} == {
        name: fields[name] for name in ("time", "level", "event", "logger")
    }
    assert facts["message"] == "kept"


def test_a_record_that_is_no_event_has_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")

    logging.getLogger("some.library").error("two\nlines of %d words", 4)

    facts = logged(capsys)
    assert facts.keys() == {"time", "level", "event", "logger", "message"}
    assert (facts["event"], facts["logger"]) == ("log", "some.library")
    assert facts["message"] == "two lines of 4 words"


def test_warnings_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")

    warnings.showwarning("old", DeprecationWarning, "module.py", 3)  # as outside of pytest

    facts = logged(capsys)
    assert (facts["event"], facts["logger"]) == ("log", "py.warnings")
    assert "DeprecationWarning: old" in facts["message"]


def test_libraries_are_shown_from_warnings_on_and_our_events_from_info_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("text")

    logging.getLogger("some.library").info("chatter")
    log_event(log, logging.DEBUG, "request.sent")
    log_event(log, logging.INFO, "run.ended", state="done", cost_usd=0.25)

    (line,) = capsys.readouterr().err.splitlines()
    time, rest = line.split(maxsplit=1)
    assert len(time) == len("23:59:59")
    assert rest == "info    run.ended state=done cost_usd=0.25"


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.builds(Path, st.just("a\udcff.parquet")),
    st.just("a\udcff.parquet"),
    st.just(np.float64(0.5)),
    st.just(np.int64(3)),
    st.just(KeyError("x")),
    st.lists(st.integers()),
)


@given(st.dictionaries(st.text(), VALUES))
def test_any_fields_make_one_line_of_json(fields: dict[str, Any]) -> None:
    record = logging.makeLogRecord({"name": "n", "levelname": "INFO"})
    record.event, record.fields = "thing.happened", fields

    line = JsonFormatter().format(record)

    assert "\n" not in line
    assert len(json.loads(line)) == 4 + len(fields)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_control_character_reaches_the_log(log_format, capsys) -> None:
    configure(log_format)

    log_event(
        logging.getLogger("pipeline"), logging.INFO, "query.odd", query_id="a\x1b[2J\x9b\u202e"
    )

    line = capsys.readouterr().err
    assert "query.odd" in line
    assert line.removesuffix("\n").replace("\ufffd", "").isprintable()
