"""Ctrl-C during a blocking call: it stops the work, at whatever moment it comes."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.core.errors import Interrupted


@contextmanager
def stopped_by_ctrl_c(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` on the first Ctrl-C while the body runs; the second raises KeyboardInterrupt.

    Nothing happens where Ctrl-C would not raise KeyboardInterrupt: in another thread than the main
    one, and where the program handles SIGINT itself.

    Raises:
        Interrupted: at the end of a body that Ctrl-C did not end otherwise.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    has_come = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal has_come
        if has_come:
            signal.default_int_handler(number, frame)
        has_come = True
        stop()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if has_come:
        raise Interrupted(signal.SIGINT)
