"""Progress of a load on stderr: a bar on a terminal, elsewhere a log event at intervals."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jobs.console.progress import BAR_WIDTH, EVENT_EVERY_S
from pipeline.core.events import log_event

if TYPE_CHECKING:
    from pipeline.export.load import LoadSummary

log = logging.getLogger(__name__)


@contextmanager
def load_progress(
    *, may_be_bar: bool, every_s: float = EVENT_EVERY_S
) -> Iterator["Callable[[LoadSummary], None]"]:
    """Yield what is to be called after each part.

    Args:
        may_be_bar: Whether to show a bar if stderr is a terminal.
        every_s: Seconds between two log events, elsewhere.
    """
    if not (may_be_bar and sys.stderr.isatty()):
        yield _events(every_s)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=BAR_WIDTH),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None, facts="")

        def update(now: "LoadSummary") -> None:
            done = now.parts_loaded + now.parts_before
            facts = f"{now.rows:,} rows, {_per_s(now):,}/s"
            bar.update(task, total=now.parts, completed=done, facts=facts)

        yield update


def _events(every_s: float) -> "Callable[[LoadSummary], None]":
    last = time.monotonic()

    def log_now(now: "LoadSummary") -> None:
        nonlocal last
        if time.monotonic() - last < every_s:
            return
        last = time.monotonic()
        done = now.parts_loaded + now.parts_before
        fields = {"done": done, "total": now.parts, "rows": now.rows, "per_s": _per_s(now)}
        log_event(log, logging.INFO, "load.progress", **fields)

    return log_now


def _per_s(now: "LoadSummary") -> int:
    return round(now.rows / max(now.seconds, 1e-9))
