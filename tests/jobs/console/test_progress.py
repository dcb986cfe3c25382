"""Progress: a bar on a terminal, elsewhere an event at intervals, nothing if not wanted."""

import asyncio
import logging
import os
import pty
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from support import virtual_clock
from support.real_runs import Service, groups, start

from jobs.console.progress import log_progress, progress_display
from pipeline.dataset.summary import RunSummary

NOW = RunSummary(
    candidates=80, candidates_ranked=20, requests=12, seconds=8.0, cost_usd=0.001, throttled=3
)


def logged(summary: RunSummary, caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """Return the fields of the events of a run of 35 seconds that logs every 10 seconds."""

    async def run() -> None:
        with log_progress(lambda: summary, every_s=10):
            await asyncio.sleep(35)

    with caplog.at_level(logging.INFO, "jobs"):
        virtual_clock.run(run())
    assert {record.event for record in caplog.records} == {"run.progress"}  # type: ignore[attr-defined]
    return [record.fields for record in caplog.records]  # type: ignore[attr-defined]


def test_without_a_terminal_an_event_is_logged_at_intervals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = logged(NOW, caplog)

    assert len(events) == 3
    assert events[0] == {
        **{"done": 20, "total": 80, "percent": 25.0, "requests": 12, "requests_per_s": 1.5},
        **{"requests_sent": 0, "requests_failed": 0, "throttled": 3},
        **{"requests_reused": 0, "retries": 0, "cost_usd": 0.001},
    }


def test_during_an_outage_it_is_said_since_when(caplog: pytest.LogCaptureFixture) -> None:
    went_down = datetime.now().astimezone() - timedelta(seconds=3_600)

    events = logged(replace(NOW, outage_s=3_600), caplog)

    shown = datetime.strptime(str(events[0]["down_since"]), "%H:%M:%S")
    assert abs(shown - went_down.replace(year=1900, month=1, day=1, tzinfo=None)).seconds < 60


def test_unknown_numbers_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    events = logged(RunSummary(requests=1), caplog)

    assert events[0]["done"] == 0
    assert not {"total", "percent", "requests_per_s"} & events[0].keys()


def test_a_display_that_fails_does_not_stop_the_run(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> RunSummary:
        raise BrokenPipeError

    async def run() -> str:
        with log_progress(broken, every_s=10):
            await asyncio.sleep(35)
        return "done"

    assert virtual_clock.run(run()) == "done"
    assert [record.name for record in caplog.records] == ["asyncio"]


def test_progress_can_be_switched_off() -> None:
    with progress_display(RunSummary, wanted=False, may_be_bar=True):
        pass  # there is no event loop, which a display would need


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_on_a_terminal_there_is_a_bar_unless_logs_are_json(
    log_format: str, output: Path, quick_service: Service
) -> None:
    given = groups([2] * 40, output.parent / "in.parquet")
    ours, theirs = pty.openpty()
    options = (*quick_service.options, "--requests-per-minute", 2_400, "--log-format", log_format)

    with start("run", given, output, *options, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        process.wait(30)
        assert process.stdout is not None
        report = process.stdout.read()
    os.close(ours)

    text = shown.decode()
    assert process.returncode == 0
    assert report.startswith("ranked  40 queries")
    assert ("100 %" in text) is (log_format == "text")
    assert ("\x1b" in text) is (log_format == "text")
    assert ("run.ended state=done" in text) is (log_format == "text")
    if log_format == "text":
        assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is back"


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the other end is closed
        return b""
