"""Progress of a run on stderr: a bar on a terminal, elsewhere a log event at regular intervals."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from jobs.console.printing import num, usd
from pipeline.core.events import log_event

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from pipeline.dataset.summary import RunSummary

log = logging.getLogger(__name__)

EVENT_EVERY_S = 10.0
BAR_EVERY_S = 0.2
BAR_WIDTH = 20

Snapshot = Callable[[], "RunSummary"]
"""Returns the run's numbers as they are now."""


def progress_display(
    snapshot: Snapshot, *, wanted: bool, may_be_bar: bool
) -> AbstractContextManager[None]:
    """Return the display of a run's progress, which lives as long as the `with` block.

    Args:
        snapshot: Of the run.
        wanted: Whether to show anything.
        may_be_bar: Whether to show a bar if stderr is a terminal.
    """
    if not wanted:
        return nullcontext()
    if may_be_bar and sys.stderr.isatty():
        return _bar(snapshot)
    return log_progress(snapshot, every_s=EVENT_EVERY_S)


@contextmanager
def log_progress(snapshot: Snapshot, *, every_s: float) -> Iterator[None]:
    """Log `run.progress` every so many seconds while the body runs in this event loop."""
    with _repeated(every_s, lambda: _log_snapshot(snapshot())):
        yield


@contextmanager
def _bar(snapshot: Snapshot) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=BAR_WIDTH),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(compact=True),
    )
    # Log lines go through sys.stderr, which rich replaces meanwhile: they appear above the bar.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as bar:
        task = bar.add_task("", total=None, facts="")

        def update() -> None:
            _update(bar, task, snapshot())

        update()
        try:
            with _repeated(BAR_EVERY_S, update):
                yield
        finally:
            update()


@contextmanager
def _repeated(every_s: float, action: Callable[[], None]) -> Iterator[None]:
    """Call `action` every so many seconds of the running event loop while the body runs.

    An action that fails is reported by the event loop and not repeated; the body goes on.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def act() -> None:
        action()
        schedule()

    def schedule() -> None:
        nonlocal timer
        timer = loop.call_later(every_s, act)

    schedule()
    try:
        yield
    finally:
        timer.cancel()


def _update(bar: "Progress", task: "TaskID", now: "RunSummary") -> None:
    bar.update(task, total=now.candidates, completed=now.candidates_done, facts=_facts(now))
    bar.refresh()


def _facts(now: "RunSummary") -> str:
    facts = [num(now.requests, "request")]
    if now.seconds:
        facts.append(f"{now.requests / now.seconds:,.1f}/s")
    facts.append(usd(now.cost_usd))
    if now.requests_reused:
        facts.append(f"{now.requests_reused:,} reused")
    if now.throttled:
        facts.append(f"{now.throttled:,} throttled")
    if now.outage_s:
        facts.append(f"service down since {_down_since(now):%H:%M:%S}")
    return ", ".join(facts)


def _down_since(now: "RunSummary") -> datetime:
    """Return the local time at which the service went down."""
    return datetime.now().astimezone() - timedelta(seconds=now.outage_s)


def _log_snapshot(now: "RunSummary") -> None:
    """Log the numbers; what is not known yet is left out."""
    fields = {
        "done": now.candidates_done,
        "total": now.candidates,
        "percent": round(100 * now.candidates_done / now.candidates, 1) if now.candidates else None,
        "requests": now.requests,
        "requests_sent": now.requests_sent,
        "requests_failed": now.requests_failed,
        "requests_per_s": round(now.requests / now.seconds, 1) if now.seconds else None,
        "requests_reused": now.requests_reused,
        "retries": now.retries,
        "throttled": now.throttled,
        "cost_usd": round(now.cost_usd, 6),
        "down_since": f"{_down_since(now):%H:%M:%S}" if now.outage_s else None,
    }
    known = {name: value for name, value in fields.items() if value is not None}
    log_event(log, logging.INFO, "run.progress", **known)
