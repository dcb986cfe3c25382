"""SIGINT, SIGTERM and SIGHUP: stop a job within five seconds; a second signal exits at once.

SIGHUP counts as SIGTERM, exit code 143 included; where it is ignored (`nohup`), it stays ignored.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn, Protocol

from jobs.console.failures import report_failure
from pipeline.core.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_AFTER_S = 4.8
"""From the first signal to a forced exit, if a slow disk or a thread still holds the process.
Answers are stored 50 ms after they arrive, on an object store 2 s. Answers not stored by then are
lost, since the store does not work, and counted in the message."""

_IMPORT_SYSTEM: Final = "<frozen importlib"
"""Prefix of the names of the import system's files."""

_IMPORT_CHECK_S: Final = 0.02
"""Seconds between two checks whether the import is done."""


class Stoppable(Protocol):
    """A job that can be stopped."""

    @property
    def is_stopping(self) -> bool:
        """Whether the job was asked to stop."""
        ...

    @property
    def num_unsaved(self) -> int:
        """Paid answers that would be lost if the process exited now."""
        ...

    def stop(self, signal_number: int) -> None:
        """Ask the job to stop."""
        ...


@contextmanager
def raised_interrupts() -> Iterator[None]:
    """Raise `Interrupted` on a signal, while there is no job to stop yet.

    A signal that comes while a library is imported is raised when that is done: libraries that are
    interrupted while they are imported catch the exception, or crash.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _Raiser(_num_import_frames(sys._getframe()))
    before = {number: signal.signal(number, handler) for number in _handled_signals()}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
        handler.raise_what_waits()


class _Raiser:
    """A handler that raises `Interrupted`, and puts it off while something is imported.

    Args:
        num_import_frames: Frames of the import system around the code that may be interrupted.
    """

    def __init__(self, num_import_frames: int) -> None:
        self._num_import_frames = num_import_frames
        self._waiting: int | None = None
        self._again: threading.Timer | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            Interrupted: unless something is imported.
        """
        self._waiting = number
        if _num_import_frames(frame) <= self._num_import_frames:
            self.raise_what_waits()
        this_thread = threading.get_ident()  # the main one, where handlers run
        self._again = threading.Timer(_IMPORT_CHECK_S, signal.pthread_kill, (this_thread, number))
        self._again.daemon = True
        self._again.start()

    def raise_what_waits(self) -> None:
        """Raise `Interrupted` if a signal was put off."""
        if self._again is not None:
            self._again.cancel()
        number, self._waiting = self._waiting, None
        if number is not None:
            raise Interrupted(_reported(number))


def _num_import_frames(frame: FrameType | None) -> int:
    """Return how many functions of the import system a frame and its callers are."""
    found = 0
    while frame is not None:
        found += frame.f_code.co_filename.startswith(_IMPORT_SYSTEM)
        frame = frame.f_back
    return found


def stop_when_interrupted(job: Stoppable, *, exit_after_s: float = EXIT_AFTER_S) -> None:
    """Stop the job of the running event loop on the first signal, and exit on the second.

    Args:
        job: What to stop.
        exit_after_s: Seconds from the first signal until the process exits in any case.
    """
    import asyncio  # here, since every command imports this module

    loop = asyncio.get_running_loop()
    for number in _handled_signals():
        loop.add_signal_handler(number, _stop, job, _reported(number), exit_after_s)


def _handled_signals() -> list[signal.Signals]:
    return [
        number
        for number in _SIGNALS
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]


def _reported(number: int) -> signal.Signals:
    """Return the signal that the exit code names."""
    return signal.SIGTERM if number == signal.SIGHUP else signal.Signals(number)


def _stop(job: Stoppable, number: signal.Signals, exit_after_s: float) -> None:
    if job.is_stopping:
        _exit(number, "interrupted again, exited at once", job)
    deadline = threading.Timer(
        exit_after_s, _exit, (number, "interrupted, exited before cleanup finished", job)
    )
    deadline.daemon = True
    deadline.start()
    job.stop(number)


def _exit(number: signal.Signals, why: str, job: Stoppable) -> NoReturn:
    # Here, since every command imports this module; a job to stop has imported it before.
    from jobs.console.terminal_line import shown_line

    if (line := shown_line()) is not None:
        line.leave()
    if num_unsaved := job.num_unsaved:
        why += f"; {num_unsaved:,} paid answers could not be saved"
    cure = "the same command continues"
    report_failure(why, code=128 + number, kind="Interrupted", cure=cure)
    os._exit(128 + number)
