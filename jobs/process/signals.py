"""What SIGINT and SIGTERM do to a job: stop it in order, and never keep anyone waiting."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, Protocol

from jobs.console.logs import tell_failure
from pipeline.core.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LEAVE_AFTER_S = 4.8
"""When the process ends whatever still holds it: a slow disk, a thread that cannot be stopped.
Answers are in the store 50 ms after they arrive, so nothing that was paid is lost by then."""


class Stoppable(Protocol):
    """A job that can be stopped."""

    @property
    def is_stopping(self) -> bool:
        """It was asked to stop."""
        ...

    def stop(self, signal_number: int) -> None:
        """Ask it to stop."""
        ...


@contextmanager
def raised_interrupts() -> Iterator[None]:
    """Raise `Interrupted` on a signal; for the time in which there is no job yet."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(number, _raise) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def stop_when_interrupted(job: Stoppable) -> None:
    """Stop the job that runs in this event loop on the first signal, leave on the second."""
    import asyncio  # here, since every command loads this module

    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, _stop, job, number)


def _raise(number: int, _: object) -> NoReturn:
    raise Interrupted(number)


def _stop(job: Stoppable, number: signal.Signals) -> None:
    if job.is_stopping:
        _leave(number, "interrupted again, left at once")
    in_the_end = threading.Timer(
        LEAVE_AFTER_S, _leave, (number, "interrupted, left before everything was put away")
    )
    in_the_end.daemon = True
    in_the_end.start()
    job.stop(number)


def _leave(number: signal.Signals, why: str) -> NoReturn:
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\x1b[?25h\n")  # a progress bar hides the cursor
    cure = "the same command continues"
    tell_failure(why, code=128 + number, kind="Interrupted", cure=cure)
    os._exit(128 + number)
