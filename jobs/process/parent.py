"""Notice when the parent process has ended: standard input, a pipe from it, ends then.

The system closes the pipe however the parent ends, `kill -9` included.
"""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Final

STOP_WITH_PARENT: Final = "RERANK_STOP_WITH_PARENT"
"""The variable by which a launcher asks for it; it holds the other end of standard input."""


def stop_with_parent(environment: Mapping[str, str]) -> None:
    """Send SIGTERM to this process once standard input ends, if the environment asks for it."""
    if environment.get(STOP_WITH_PARENT) == "1":
        when_input_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))


def when_input_ends(then: Callable[[], object]) -> None:
    """Call `then` in a thread of its own once standard input ends."""
    threading.Thread(target=_read_to_the_end, args=(then,), daemon=True).start()


def _read_to_the_end(then: Callable[[], object]) -> None:
    # os.read, because this thread would hold the lock of sys.stdin when the process exits.
    while os.read(0, 4_096):
        pass
    then()
