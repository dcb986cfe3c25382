"""SIGINT, SIGTERM and SIGHUP: raised as an exception, unless an event loop runs (`event_loop`).

SIGHUP counts as SIGTERM, exit code 143 included; where it is ignored (`nohup`), it stays ignored.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

from pipeline.core.errors import Interrupted

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_IMPORT_SYSTEM: Final = "<frozen importlib"
"""Prefix of the names of the import system's files."""
_POLARS: Final = "polars"
"""It prints a backtrace on stderr if Python code that it calls raises an exception."""

_AGAIN_S: Final = 0.02
"""Seconds after which a signal is raised again that could not be raised."""


class Signalled(BaseException):
    """A signal came; unlike `Interrupted`, nothing that handles errors catches it.

    Args:
        number: The signal that the exit code names.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.interrupted = Interrupted(number)


@contextmanager
def raised_interrupts() -> Iterator[None]:
    """Raise `Interrupted` on a signal, while there is no job to stop yet.

    The body sees `Signalled`, and whatever becomes of that in a library, a body that ends after a
    signal ends with `Interrupted`. A signal that comes while a library is imported, or in a call of
    Polars, is raised when that is done: libraries that are interrupted while they are imported
    catch the exception, or crash.
    """
    handler = _Raiser(_num_delicate_frames(sys._getframe()))
    try:
        with handled_by(handler), _raised_again(handler):
            yield
    except GeneratorExit:  # the signal was raised where this block is entered or left
        raise
    except BaseException as error:
        handler.raise_interrupted(error)
        raise
    handler.raise_interrupted(None)


class _Raiser:
    """A handler that raises `Signalled`, and puts it off in code that does not bear it.

    Args:
        num_delicate_frames: Frames of such code around the code that may be interrupted.
    """

    def __init__(self, num_delicate_frames: int) -> None:
        self._num_delicate_frames = num_delicate_frames
        self._number: signal.Signals | None = None
        self._again: threading.Timer | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            Signalled: unless something is imported, or Polars is at work.
        """
        self._number = reported(number)
        if _num_delicate_frames(frame) <= self._num_delicate_frames:
            raise Signalled(self._number)
        self.put_off(number)

    def put_off(self, number: int) -> None:
        """Send the signal again after a moment."""
        this_thread = threading.main_thread().ident  # where handlers run
        self._again = threading.Timer(_AGAIN_S, signal.pthread_kill, (this_thread, number))
        self._again.daemon = True
        self._again.start()

    def raise_interrupted(self, error: BaseException | None) -> None:
        """Raise `Interrupted` if a signal has come, whatever else the body ended with."""
        if self._again is not None:
            self._again.cancel()
        if self._number is not None:
            raise Interrupted(self._number) from error


@contextmanager
def _raised_again(handler: _Raiser) -> Iterator[None]:
    """Raise a signal again that came where Python ignores exceptions, as in `__del__`."""
    earlier = sys.unraisablehook

    def hook(lost: "UnraisableHookArgs") -> None:
        if isinstance(lost.exc_value, Signalled):
            handler.put_off(lost.exc_value.interrupted.signal_number)
        else:
            earlier(lost)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = earlier


def _num_delicate_frames(frame: FrameType | None) -> int:
    """Return how many functions of the import system or of Polars a frame and its callers are."""
    found = 0
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        found += package == _POLARS or frame.f_code.co_filename.startswith(_IMPORT_SYSTEM)
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
