"""SIGINT, SIGTERM and SIGHUP: stop a job within five seconds; a second signal exits at once.

SIGHUP counts as SIGTERM, exit code 143 included; where it is ignored (`nohup`), it stays ignored.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, Protocol

from jobs.console.failures import report_failure
from pipeline.core.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_AFTER_S = 4.8
"""From the first signal to a forced exit, if a slow disk or a thread still holds the process.
Answers are stored 50 ms after they arrive, on an object store 2 s. What is not stored by then is
lost, since the store is out of order, and counted in the message."""


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
    """Raise `Interrupted` on a signal, while there is no job to stop yet."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _raise) for number in _handled_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Hold signals back while the body imports libraries; they are raised when it ends.

    Libraries that are interrupted while they are imported catch the exception, or crash.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _handled_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
    """Return the signal that the exit code speaks of."""
    return signal.SIGTERM if number == signal.SIGHUP else signal.Signals(number)


def _raise(number: int, _: object) -> NoReturn:
    raise Interrupted(_reported(number))


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
