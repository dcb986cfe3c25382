"""Progress of a load."""

import logging
import os
import pty

import pytest

from jobs.console.load_progress import load_line, load_progress
from jobs.console.terminal_line import Signs
from pipeline.export.load import LoadSummary

SOME = LoadSummary(parts=4, parts_loaded=2, parts_before=1, rows=1_500, seconds=5.0)


def test_parts_are_logged_at_intervals(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    with load_progress(may_be_line=False, every_s=0.0) as on_part:
        on_part(SOME)
    with load_progress(may_be_line=False, every_s=60.0) as on_part:
        on_part(LoadSummary(parts=4))

    assert [record.getMessage() for record in caplog.records] == [
        "load.progress done=3 total=4 percent=75.0 rows=1500 rows_per_s=300"
    ]


def test_a_terminal_shows_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as terminal:  # noqa: PTH123  # a descriptor
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with load_progress(may_be_line=True) as on_part:
            on_part(SOME)
        shown = os.read(ours, 65_536).decode()
    os.close(ours)

    assert "3/4 parts 75 % ━" in shown
    assert "1,500 rows · 300 rows/s" in shown
    assert shown.endswith("\x1b[?25h\r\n")


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_the_line_fits(columns: int) -> None:
    line = str(load_line(SOME, columns, Signs()))

    assert len(line) <= columns
    assert line.startswith("3/4 parts 75 % ━")
