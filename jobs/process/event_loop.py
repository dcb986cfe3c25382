"""Event loops of commands: a signal stops their work at any moment, also before it has begun.

An exception that a signal handler raised inside an event loop would leave the loop broken, or be
lost in it. So the handlers in force while a loop runs, and while it is made and closed, only note
the signal and stop the work from within the loop.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any, Final, NoReturn, Protocol, TypeVar

from jobs.console.failures import report_failure
from jobs.console.terminal_line import shown_line
from jobs.process.signals import handled_by, reported
from pipeline.core.errors import Interrupted

Result = TypeVar("Result")

EXIT_AFTER_S: Final = 4.8
"""From the first signal to a forced exit, if a slow disk or a thread still holds the process.
Answers are stored 50 ms after they arrive, on an object store 2 s. Answers not stored by then are
lost, since the store does not work, and counted in the message."""


class Stoppable(Protocol):
    """A job that can be stopped."""

    @property
    def num_unsaved(self) -> int:
        """Paid answers that would be lost if the process exited now."""
        ...

    def stop(self, signal_number: int) -> None:
        """Ask the job to stop; called in its event loop."""
        ...


class ServerJob:
    """The job of a server, which has nothing to save: a signal is its usual end.

    Attributes:
        end: Set on a signal.
    """

    num_unsaved: Final = 0

    def __init__(self) -> None:
        self.end = asyncio.Event()

    def stop(self, signal_number: int) -> None:
        """Ask the server to end."""
        self.end.set()


def run_until_interrupted(
    work: Callable[[], Coroutine[Any, Any, Result]],
    job: Stoppable | None = None,
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    exit_after_s: float = EXIT_AFTER_S,
) -> Result:
    """Run work in an event loop of its own; the first signal stops it, the second exits at once.

    Args:
        work: What to run.
        job: What a signal stops; the work then ends by itself. None: a signal cancels the work.
        loop_factory: Makes the event loop; None for asyncio's own.
        exit_after_s: Seconds from the first signal until the process exits in any case.

    Raises:
        Interrupted: if a signal cancelled the work, or came when the job was already done.
    """
    stopper = _Stopper(job, exit_after_s)
    with handled_by(stopper), asyncio.Runner(loop_factory=loop_factory) as runner:
        result = runner.run(stopper.run(work))
    stopper.raise_unheeded()
    return result


class _Stopper:
    """A handler of signals that stops work from within its event loop.

    A handler may run in the middle of anything, also while a lock is held or a line is written, so
    it only notes the signal.

    Args:
        job: What to stop; None for the task of the work.
        exit_after_s: Seconds from the first signal until the process exits in any case.
    """

    def __init__(self, job: Stoppable | None, exit_after_s: float) -> None:
        self._job = job
        self._exit_after_s = exit_after_s
        self._noted: list[signal.Signals] = []
        self._first: signal.Signals | None = None
        self._is_heeded = True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note a signal, and wake the event loop to act on it."""
        self._noted.append(reported(number))
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed; the work is done
                self._loop.call_soon_threadsafe(self._act)

    async def run(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run the work until it ends, or until a signal cancels it."""
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._act)  # for signals before this moment
        try:
            return await work()
        except asyncio.CancelledError:
            self.raise_unheeded()
            raise

    def raise_unheeded(self) -> None:
        """Raise `Interrupted` if a signal has come that no job was told."""
        if self._noted:
            raise Interrupted(self._noted[0])
        if self._first is not None and not self._is_heeded:
            raise Interrupted(self._first)

    def _act(self) -> None:
        """Act on the signals noted so far; in the event loop."""
        while self._noted:
            number = self._noted.pop(0)
            if self._first is not None:
                self._exit(number, "interrupted again, exited at once")
            self._first = number
            deadline = threading.Timer(
                self._exit_after_s,
                self._exit,
                (number, "interrupted, exited before cleanup finished"),
            )
            deadline.daemon = True
            deadline.start()
            self._stop(number)

    def _stop(self, number: signal.Signals) -> None:
        assert self._task is not None
        if self._job is None or self._task.done():
            self._is_heeded = False
            self._task.cancel()
        else:
            self._job.stop(number)

    def _exit(self, number: signal.Signals, why: str) -> NoReturn:
        if (line := shown_line()) is not None:
            line.leave()
        if self._job is not None and (num_unsaved := self._job.num_unsaved):
            why += f"; {num_unsaved:,} paid answers could not be saved"
        code = 128 + number
        cure = "the same command continues"
        report_failure(why, code=code, kind="Interrupted", cure=cure)
        os._exit(code)
