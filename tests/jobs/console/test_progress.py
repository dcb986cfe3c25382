"""Progress: a line on a terminal, events at intervals, nothing if not wanted."""

import asyncio
import logging
import os
import pty
from datetime import datetime, timedelta
from pathlib import Path

import pyte
import pytest
from msgspec.structs import replace
from support import virtual_clock
from support.real_runs import Service, environment, groups, service, start

from jobs.console.progress import ProgressView, progress_display
from pipeline.core.settings import Pace
from pipeline.dataset.summary import RunSummary

NOW = RunSummary(
    groups=8,
    groups_ranked=2,
    candidates=80,
    candidates_ranked=20,
    requests=12,
    seconds=8.0,
    cost_usd=0.001,
    throttled=3,
)


class Job:
    """A run and its session, whose numbers a test sets."""

    def __init__(self, now: RunSummary) -> None:
        self.now = now
        self.pace = Pace(requests_per_minute=600)
        self.is_stopping = False

    def snapshot(self) -> RunSummary:
        return self.now


def logged(summary: RunSummary, caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """Return the fields of the events of a run of 35 seconds that logs every 10 seconds."""
    job = Job(summary)

    async def run() -> None:
        with progress_display(job, job, may_be_line=False, event_every_s=10):
            await asyncio.sleep(35)

    with caplog.at_level(logging.INFO, "jobs"):
        virtual_clock.run(run())
    assert {record.event for record in caplog.records} == {"run.progress"}  # type: ignore[attr-defined]
    return [record.fields for record in caplog.records]  # type: ignore[attr-defined]


def test_an_event_is_logged_at_intervals(caplog: pytest.LogCaptureFixture) -> None:
    events = logged(NOW, caplog)

    assert len(events) == 3
    assert events[0] == {
        **{"done": 2, "total": 8, "unit": "queries", "percent": 25.0, "candidates": 20},
        **{"requests": 12, "requests_sent": 0, "requests_failed": 0, "throttled": 3},
        **{"requests_reused": 0, "retries": 0, "cost_usd": 0.001, "expected_usd": 0.004},
    }


def test_during_an_outage_it_is_said_since_when(caplog: pytest.LogCaptureFixture) -> None:
    went_down = datetime.now().astimezone() - timedelta(seconds=3_600)

    events = logged(replace(NOW, outage_s=3_600), caplog)

    shown = datetime.strptime(str(events[0]["down_since"]), "%H:%M:%S")
    assert abs(shown - went_down.replace(year=1900, month=1, day=1, tzinfo=None)).seconds < 60


def test_unknown_numbers_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    events = logged(RunSummary(requests=1), caplog)

    assert events[0]["done"] == 0
    assert not {"total", "percent", "requests_per_s", "seconds_left"} & events[0].keys()


def test_the_time_left_is_reckoned_from_the_last_minute() -> None:
    """A fast start, of answers that the store had, says nothing about the rest."""
    job = Job(replace(NOW, seconds=0.0, candidates=1_000, candidates_ranked=0))
    view = ProgressView(job, job)
    lefts = [view.look().seconds_left]

    for second, ranked in ((1, 500), *((s, 500 + s) for s in range(2, 101, 2))):
        job.now = replace(job.now, seconds=float(second), candidates_ranked=ranked)
        lefts.append(view.look().seconds_left)

    assert lefts[0] is None
    assert lefts[-1] == pytest.approx(400)


def test_where_queries_are_not_counted_candidates_are_shown() -> None:
    job = Job(replace(NOW, groups=None))

    shown = ProgressView(job, job).look()

    assert (shown.done, shown.total, shown.noun, shown.percent) == (20, 80, "candidates", 25.0)


def test_of_a_backfill_its_partitions_are_shown() -> None:
    job = Job(NOW)

    shown = ProgressView(job, job, lambda: (3, 12, 0.3)).look()

    assert (shown.done, shown.total, shown.noun, shown.percent) == (3, 12, "partitions", 30.0)


def test_a_display_that_fails_does_not_stop_the_run(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Job):
        def snapshot(self) -> RunSummary:
            raise BrokenPipeError

    async def run() -> str:
        job = Broken(NOW)
        with progress_display(job, job, may_be_line=False, event_every_s=10):
            await asyncio.sleep(35)
        return "done"

    assert virtual_clock.run(run()) == "done"
    assert [record.name for record in caplog.records] == ["asyncio"]


def test_progress_can_be_switched_off() -> None:
    job = Job(NOW)
    with progress_display(job, job, wanted=False):
        pass  # there is no event loop, which a display would need


def on_terminal(*arguments: object, **variables: str) -> tuple[int, str, str]:
    """Run `rerank` with stderr on a terminal; return exit code, stdout and the terminal's bytes."""
    ours, theirs = pty.openpty()
    env = environment(**{"TERM": "xterm", "PYTHONUTF8": "1"} | variables)
    with start(*arguments, stderr=theirs, env=env) as process:
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        process.wait(30)
        assert process.stdout is not None
        report = process.stdout.read()
    os.close(ours)
    return process.returncode, report, shown.decode()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_on_a_terminal_there_is_a_line_unless_logs_are_json(
    log_format: str, output: Path, quick_service: Service
) -> None:
    given = groups([2] * 60, output.parent / "in.parquet")
    log_file = output.parent / "log.jsonl"
    options = (*quick_service.options, "--requests-per-minute", 2_400, "--log-format", log_format)

    code, report, text = on_terminal("run", given, output, *options, "--log-file", log_file)

    assert code == 0
    assert report.startswith("ranked  60 queries")
    assert ("60/60 queries 100 %" in text) is (log_format == "text")
    assert ("\x1b" in text) is (log_format == "text")
    assert ("run.ended" in text) is (log_format == "json"), "the report says it all"
    assert "run.ended" in log_file.read_text()
    if log_format == "text":
        assert "\x1b[32m━" in text, "green, since it is done"
        assert "\x1b[31m" not in text
        assert text.endswith("\x1b[?25h\r\n"), "the cursor is back"


@pytest.mark.parametrize(
    ("options", "variables"), [(["--quiet"], {}), (["--no-progress"], {}), ([], {"TERM": "dumb"})]
)
def test_no_line_is_drawn_where_none_is_wanted(
    options: list[str], variables: dict[str, str], output: Path, quick_service: Service
) -> None:
    given = groups([2] * 40, output.parent / "in.parquet")
    pace = ("--requests-per-minute", 2_400)

    code, report, text = on_terminal(
        "run", given, output, *quick_service.options, *pace, *options, **variables
    )

    assert code == 0
    assert "\x1b" not in text
    assert (text == "") is (report == "") is ("--quiet" in options)


def drawn(job: Job, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines of a terminal for three seconds of a run, and after it."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")

    async def run() -> None:
        with progress_display(job, job):
            await asyncio.sleep(3)
            screen.feed(os.read(ours, 65_536))
            lines.append(terminal.display[0].rstrip())

    terminal, lines = pyte.Screen(80, 3), list[str]()
    screen = pyte.ByteStream(terminal)
    with open(theirs, "w", encoding="utf-8") as stream:  # noqa: PTH123  # a descriptor
        monkeypatch.setattr("sys.stderr", stream)
        virtual_clock.run(run())
        screen.feed(os.read(ours, 65_536))
    os.close(ours)
    return [*lines, terminal.display[0].rstrip()]


def test_while_the_input_is_read_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(replace(NOW, candidates=None, seconds=42.0))

    assert drawn(job, monkeypatch)[0] == "reading INPUT · 0:42"


def test_of_a_run_that_never_began_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    during, after = drawn(Job(NOW), monkeypatch)

    assert during.startswith("2/8 queries 25 % ━")
    assert after == ""


def test_an_instant_failure_shows_its_line_alone(output: Path, quick_service: Service) -> None:
    code, _, text = on_terminal("run", output.parent / "none", output, *quick_service.options)

    assert code == 3
    assert text.count("\n") == 1
    assert text.startswith("rerank: error: ")


def test_a_failed_run_ends_with_a_red_bar(output: Path) -> None:
    given = groups([2] * 60, output.parent / "in.parquet")
    with service("--requests-per-minute", 1_200) as limited:
        options = (*limited.options, "--requests-per-minute", 1_200, "--max-cost", 0.0001)
        code, _, text = on_terminal("run", given, output, *options)

    assert code == 9
    assert "\x1b[31m━" in text
    assert "failed in 0:0" in text


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the other end is closed
        return b""
