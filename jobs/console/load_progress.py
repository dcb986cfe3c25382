"""Progress of a load on stderr: a line on a terminal, and a log event at intervals."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from jobs.console.printing import num
from jobs.console.progress import EVENT_EVERY_S, draw_line
from jobs.console.progress_line import Line, duration
from jobs.console.terminal_line import Signs, TerminalLine, is_terminal
from pipeline.core.events import log_event

if TYPE_CHECKING:
    from pipeline.export.load import LoadSummary

log = logging.getLogger(__name__)


@contextmanager
def load_progress(
    *, may_be_line: bool, every_s: float = EVENT_EVERY_S
) -> Iterator["Callable[[LoadSummary], None]"]:
    """Yield what is to be called after each part.

    Args:
        may_be_line: Whether to show a line if stderr is a terminal.
        every_s: Seconds between two log events.
    """
    shown = may_be_line and is_terminal(sys.stderr, os.environ)
    line = TerminalLine(sys.stderr, os.environ) if shown else nullcontext()
    last = time.monotonic()
    with line:

        def update(now: "LoadSummary") -> None:
            nonlocal last
            if isinstance(line, TerminalLine):
                is_done = _done(now) == now.parts
                text = load_line(now, line.columns, line.signs)
                draw_line(line, text, "green" if is_done else None)
            if time.monotonic() - last >= every_s:
                last = time.monotonic()
                _log(now)

        yield update


def load_line(now: "LoadSummary", columns: int, signs: Signs) -> Line:
    """Return how far a load is, as one line that fits."""
    share = _done(now) / max(now.parts, 1)
    before = f"{_done(now):,}/{now.parts:,} parts {int(100 * share)} %"
    facts = [f"{num(now.rows, 'row')}", f"{_per_s(now):,} rows/s"]
    if now.parts_loaded and share < 1:
        left = (now.parts - _done(now)) * now.seconds / now.parts_loaded
        facts.insert(0, f"{duration(left)} left")
    line = Line.of(before, share, facts, columns, signs)
    while len(str(line)) > columns and facts:
        facts.pop()
        line = Line.of(before, share, facts, columns, signs)
    return line


def _log(now: "LoadSummary") -> None:
    log_event(
        log,
        logging.INFO,
        "load.progress",
        done=_done(now),
        total=now.parts,
        percent=round(100 * _done(now) / max(now.parts, 1), 1),
        rows=now.rows,
        rows_per_s=_per_s(now),
    )


def _done(now: "LoadSummary") -> int:
    return now.parts_loaded + now.parts_before


def _per_s(now: "LoadSummary") -> int:
    return round(now.rows / max(now.seconds, 1e-9))
