"""Progress of a run on stderr: a line on a terminal, elsewhere a log event at regular intervals."""

import asyncio
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from jobs.console.progress_line import Line, View, compose, down_since, duration
from jobs.console.terminal_line import TerminalLine, is_terminal
from pipeline.core.events import log_event
from pipeline.core.settings import Pace

if TYPE_CHECKING:
    from pipeline.dataset.summary import RunSummary

log = logging.getLogger(__name__)

EVENT_EVERY_S: Final = 30.0
DRAW_EVERY_S: Final = 0.2
DRAW_FROM_S: Final = 0.4
"""A run that ends earlier shows no progress."""
SAY_READING_FROM_S: Final = 2.0
"""Opening a large input, or joining it with its texts, takes longer."""
_WINDOW_S: Final = 60.0
"""Seconds of the past from which the time left is estimated."""
_COLORS: Final = {"done": "green", "failed": "red", "partial": "red"}


Partitions = Callable[[], tuple[int, int, float]]


class Watched(Protocol):
    """A run whose progress is shown."""

    def snapshot(self) -> "RunSummary":
        """Return its numbers as they are now."""
        ...


class WatchedSession(Protocol):
    """The session of that run."""

    @property
    def pace(self) -> Pace:
        """Its present limits."""
        ...

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop."""
        ...


class ProgressView:
    """Makes a `View` of a run on request, and keeps track of its speed.

    Args:
        job: A run, or a backfill.
        session: Of the run.
        partitions: Of a backfill: returns how many have ended, of how many, and the share of the
            work that is done.
    """

    def __init__(
        self, job: Watched, session: WatchedSession, partitions: Partitions | None = None
    ) -> None:
        self._job = job
        self._session = session
        self._partitions = partitions
        self._shares: deque[tuple[float, float]] = deque()

    def look(self) -> View:
        """Return how far the run is now."""
        now = self._job.snapshot()
        done: int
        total: int | None
        share: float | None
        if self._partitions is not None:
            done, total, share = self._partitions()
            noun = "partitions"
        elif now.groups is None and now.candidates is not None:
            done, total, noun = now.candidates_done, now.candidates, "candidates"
            share = _share(done, total)
        else:
            done, total, noun = now.groups_ranked, now.groups, "queries"
            share = _share(now.candidates_done, now.candidates)
        return View(
            now=now,
            done=done,
            total=total,
            noun=noun,
            share=share,
            pace=self._session.pace,
            seconds_left=self._seconds_left(now.seconds, share),
            is_stopping=self._session.is_stopping,
        )

    def _seconds_left(self, seconds: float, share: float | None) -> float | None:
        if share is None:
            return None
        shares = self._shares
        shares.append((seconds, share))
        while len(shares) > 2 and shares[1][0] <= seconds - _WINDOW_S:
            shares.popleft()
        since, gained = shares[0][0], share - shares[0][1]
        return (1 - share) * (seconds - since) / gained if gained > 0 else None


@contextmanager
def progress_display(
    job: Watched,
    session: WatchedSession,
    *,
    partitions: Partitions | None = None,
    wanted: bool = True,
    may_be_line: bool = True,
    event_every_s: float = EVENT_EVERY_S,
) -> Iterator[None]:
    """Show the progress of a run for as long as the `with` block lasts.

    The events are logged in any case: a log file may want them.

    Args:
        job: What is watched.
        session: Its session.
        partitions: As for `ProgressView`.
        wanted: Whether to show anything.
        may_be_line: Whether to show a line if stderr is a terminal.
        event_every_s: Between two log events.
    """
    if not wanted:
        yield
        return
    view = ProgressView(job, session, partitions)
    with ExitStack() as shown:
        if may_be_line and is_terminal(sys.stderr, os.environ):
            shown.enter_context(_line(view))
        shown.enter_context(_repeated(event_every_s, lambda: log_progress(view.look())))
        yield


@contextmanager
def _line(view: ProgressView) -> Iterator[None]:
    with TerminalLine(sys.stderr, os.environ) as line:

        def draw() -> None:
            look = view.look()
            now = look.now
            if now.candidates is not None and now.seconds >= DRAW_FROM_S:
                text = compose(look, line.columns, line.signs)
                draw_line(line, text, _COLORS.get(now.state))
            elif now.seconds >= SAY_READING_FROM_S:
                line.draw(
                    f"reading INPUT{line.signs.between}{duration(now.seconds)}"[: line.columns]
                )

        try:
            with _repeated(DRAW_EVERY_S, draw):
                yield
        finally:
            if view.look().now.state == "running":  # the run never began; its error says why
                line.erase()
            else:
                draw()


def draw_line(line: TerminalLine, text: Line, color: str | None = None) -> None:
    """Draw a line on a terminal, the done part of the bar in a color."""
    done = line.paint(text.done, color) if color else text.done
    line.draw(text.before + done + line.paint(text.left, "dim") + text.after)


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


def log_progress(view: View) -> None:
    """Log the numbers; what is not known yet is left out."""
    now, recent = view.now, view.now.recent
    expected, left = view.expected_usd, view.seconds_left
    fields = {
        "done": view.done,
        "total": view.total,
        "unit": view.noun,
        "percent": view.percent,
        "seconds_left": None if left is None else round(left),
        "requests_per_s": None if recent is None else round(recent.requests_per_s, 1),
        "limited_by": recent.bound_by or None if recent else None,
        "candidates": now.candidates_done,
        "requests": now.requests,
        "requests_sent": now.requests_sent,
        "requests_failed": now.requests_failed,
        "requests_reused": now.requests_reused,
        "retries": now.retries,
        "throttled": now.throttled,
        "cost_usd": round(now.cost_usd, 6),
        "expected_usd": None if expected is None else round(expected, 6),
        "down_since": f"{down_since(now):%H:%M:%S}" if now.outage_s else None,
    }
    known = {name: value for name, value in fields.items() if value is not None}
    log_event(log, logging.INFO, "run.progress", **known)


def _share(done: int, total: int | None) -> float | None:
    if total is None:
        return None
    return done / total if total else 1.0
