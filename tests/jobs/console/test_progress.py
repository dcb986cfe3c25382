"""How far a run is: a bar on a terminal, a line now and then elsewhere, nothing if not wanted."""

import asyncio
import os
import pty
import re
from pathlib import Path

import pytest
from support.real_runs import Service, groups, rerank_here, start

from jobs.console import progress
from jobs.console.progress import shown_progress
from pipeline.dataset.summary import RunSummary


def test_elsewhere_a_line_is_logged_now_and_then(
    output: Path, quick_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.1)
    given = groups([2] * 40, output.parent / "in.parquet")
    options = (*quick_service.options, "--requests-per-minute", 2_400)

    ended = rerank_here("run", given, output, *options)
    quiet = rerank_here("run", given, output, *options, "--restart", "--no-progress")

    lines = re.findall(r"run\.progress (.*)", ended.err)
    assert re.fullmatch(
        r"[\d,]+ of 80 candidates \(\d+%\), \d+ requests?, [\d.]+/s, \$0\.00\d\d", lines[-1]
    )
    assert "run.progress" not in quiet.err


async def test_unknown_totals_are_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    assert progress._line(RunSummary(requests=1)) == "0, 1 request, $0.0000"

    async with shown_progress(RunSummary, wanted=True):
        await asyncio.sleep(0)


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
    assert "run.ended state=done" in text
    if log_format == "text":
        assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is back"


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the other end is closed
        return b""
