"""SIGINT, SIGTERM and SIGHUP: raised as an exception, unless an event loop runs (`event_loop`).

SIGHUP counts as SIGTERM, exit code 143 included; where it is ignored (`nohup`), it stays ignored.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from pipeline.core.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_IMPORT_SYSTEM: Final = "<frozen importlib"
"""Prefix of the names of the import system's files."""

_IMPORT_CHECK_S: Final = 0.02
"""Seconds between two checks whether the import is done."""


@contextmanager
def raised_interrupts() -> Iterator[None]:
    """Raise `Interrupted` on a signal, while there is no job to stop yet.

    A signal that comes while a library is imported is raised when that is done: libraries that are
    interrupted while they are imported catch the exception, or crash.
    """
    handler = _Raiser(_num_import_frames(sys._getframe()))
    try:
        with handled_by(handler):
            yield
    finally:
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
            raise Interrupted(reported(number))


def _num_import_frames(frame: FrameType | None) -> int:
    """Return how many functions of the import system a frame and its callers are."""
    found = 0
    while frame is not None:
        found += frame.f_code.co_filename.startswith(_IMPORT_SYSTEM)
        frame = frame.f_back
    return found


@contextmanager
def handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have a handler called on signals; outside the main thread, where none can be, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in _handled_signals()}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _handled_signals() -> list[signal.Signals]:
    return [
        number
        for number in _SIGNALS
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]


def reported(number: int) -> signal.Signals:
    """Return the signal that the exit code names."""
    return signal.SIGTERM if number == signal.SIGHUP else signal.Signals(number)
