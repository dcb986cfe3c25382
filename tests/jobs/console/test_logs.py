"""Log lines: events with their own fields as JSON, one readable line as text."""

import json
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as given_by
from hypothesis import strategies as st
from support.logging_state import restored_logging
from support.real_runs import Service, groups, rerank_here

from jobs.console.logs import JsonFormatter, add_file, configure, record_failure
from pipeline.core.errors import SettingsError
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
    date, time, rest = line.split(maxsplit=2)
    assert date == f"{datetime.now().astimezone():%Y-%m-%d}"
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


@given_by(st.dictionaries(st.text(), VALUES))
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


def test_a_file_has_what_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log.jsonl"
    configure("text", logging.WARNING)
    add_file(str(file), logging.INFO)

    log_event(log, logging.DEBUG, "request.answered")
    log_event(log, logging.INFO, "run.progress", percent=3.5)
    log_event(log, logging.WARNING, "pace.cut", refused=2)
    record_failure("it is full", exit_code=1)

    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert [event["event"] for event in events] == ["run.progress", "pace.cut", "failed"]
    assert events[0]["percent"] == 3.5
    assert (events[2]["level"], events[2]["message"]) == ("error", "it is full")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("warning pace.cut refused=2")


def test_the_suffix_of_a_file_tells_its_format(tmp_path: Path) -> None:
    configure("text")
    add_file(str(tmp_path / "run.log"), logging.INFO)

    log_event(log, logging.INFO, "run.ended", state="done")

    assert (tmp_path / "run.log").read_text().endswith(" info    run.ended state=done\n")


def test_a_file_is_appended_to_and_may_be_moved_away(tmp_path: Path) -> None:
    file, moved = tmp_path / "run.log", tmp_path / "run.log.1"
    file.write_text("earlier\n")
    configure("text")
    add_file(str(file), logging.INFO)

    log_event(log, logging.INFO, "thing.one")
    file.rename(moved)
    log_event(log, logging.INFO, "thing.two")

    assert moved.read_text().startswith("earlier\n")
    assert "thing.one" in moved.read_text()
    assert "thing.two" in file.read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a file that is always full")
def test_a_file_that_cannot_be_written_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure("text")
    add_file("/dev/full", logging.INFO)

    for number in range(3):
        log_event(log, logging.INFO, "thing.done", number=number)

    names = [line.split()[3] for line in capsys.readouterr().err.splitlines()]
    assert names.count("log_file.not_written") == 1
    assert names.count("thing.done") == 3


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    configure("text")

    with pytest.raises(SettingsError, match=r"--log-file .*: cannot be written: No such"):
        add_file(str(tmp_path / "none" / "run.log"), logging.INFO)


def test_quiet_and_verbose_exclude_each_other() -> None:
    ended = rerank_here("run", "a", "b", "-q", "-v", "--provider", "emulator")

    assert ended.code == 2
    assert ended.failure == "rerank: error: --quiet: excludes --verbose; leave one out"


def test_a_verbose_run_logs_every_answer(output: Path, quick_service: Service) -> None:
    given = groups([2] * 3, output.parent / "in.parquet")

    ended = rerank_here("run", given, output, *quick_service.options, "-v")

    assert ended.err.count("debug   request.answered query_id=q") == 3


def test_a_quiet_run_prints_nothing_and_its_failure_is_told(
    output: Path, quick_service: Service
) -> None:
    given = groups([2] * 3, output.parent / "in.parquet")

    done = rerank_here("run", given, output, *quick_service.options, "-q")
    failed = rerank_here("run", given, output, *quick_service.options, "-q", "--top-n", "1")

    assert (done.code, done.out, done.err) == (0, "", "")
    assert (failed.code, failed.err.count("\n")) == (5, 1)
