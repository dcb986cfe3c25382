"""Progress of a load."""

import io
import logging
import sys

import pytest

from jobs.console.load_progress import load_progress
from pipeline.export.load import LoadSummary


def test_parts_are_logged_at_intervals(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    with load_progress(may_be_bar=False, every_s=0.0) as on_part:
        on_part(LoadSummary(parts=4, parts_loaded=2, parts_before=1, rows=50, seconds=5.0))
    with load_progress(may_be_bar=False, every_s=60.0) as on_part:
        on_part(LoadSummary(parts=4))

    assert [record.getMessage() for record in caplog.records] == [
        "load.progress done=3 total=4 rows=50 per_s=10"
    ]


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)

    with load_progress(may_be_bar=True) as on_part:
        on_part(LoadSummary(parts=4, parts_loaded=3, rows=1_500, seconds=5.0))

    assert "75 %" in terminal.getvalue()
    assert "1,500 rows, 300/s" in terminal.getvalue()
