"""How far a run is, on stderr: a bar on a terminal, a plain line now and then elsewhere."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from jobs.console.printing import num, usd

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from pipeline.dataset.summary import RunSummary

log = logging.getLogger(__name__)

LINE_EVERY_S = 10.0
BAR_EVERY_S = 0.2
BAR_WIDTH = 20


@asynccontextmanager
async def shown_progress(
    look: "Callable[[], RunSummary]", wanted: bool, *, bar: bool = True
) -> AsyncIterator[None]:
    """Show the run's numbers while the body runs.

    Args:
        look: Gives the numbers as they are now.
        wanted: Whether to show anything.
        bar: Whether to show a bar if stderr is a terminal.
    """
    if not wanted:
        yield
        return
    show = _show_bar if bar and sys.stderr.isatty() else _show_lines
    showing = asyncio.create_task(show(look))
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.wait([showing])


async def _show_lines(look: "Callable[[], RunSummary]") -> None:
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        log.info("run.progress %s", _line(look()))


async def _show_bar(look: "Callable[[], RunSummary]") -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=BAR_WIDTH),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(compact=True),
    )
    # What is logged meanwhile goes above the bar, since it goes through sys.stderr.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as bar:
        task = bar.add_task("", total=None, facts="")
        try:
            while True:
                _update(bar, task, look())
                await asyncio.sleep(BAR_EVERY_S)
        finally:
            _update(bar, task, look())


def _update(bar: "Progress", task: "TaskID", now: "RunSummary") -> None:
    bar.update(task, total=now.candidates, completed=now.candidates_done, facts=_facts(now))
    bar.refresh()


def _line(now: "RunSummary") -> str:
    done = f"{now.candidates_done:,}"
    if now.candidates:
        done += f" of {now.candidates:,} candidates ({now.candidates_done / now.candidates:.0%})"
    return f"{done}, {_facts(now)}"


def _facts(now: "RunSummary") -> str:
    facts = [num(now.requests, "request")]
    if now.seconds:
        facts.append(f"{now.requests / now.seconds:,.1f}/s")
    facts.append(usd(now.cost_usd))
    if now.requests_reused:
        facts.append(f"{now.requests_reused:,} reused")
    if now.throttled:
        facts.append(f"{now.throttled:,} throttled")
    return ", ".join(facts)
