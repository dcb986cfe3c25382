"""A command as a child process: its log is passed on line by line, and it can be stopped.

The child leads a process group of its own, so that a signal reaches all that it started. Its
standard input is a pipe from this process: when this process ends, however it ends, the pipe closes
and the child stops cleanly, so no child is left running unseen. The child also stops when the
parent of this process, the supervisor of the task, ends: no one would learn its result.

A signal handler may call `stop` while `wait` is waiting in the same thread, so neither takes a
lock: both poll values that the threads set.
"""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Final

from jobs.process.parent import STOP_WITH_PARENT

STOP_WITHIN_S: Final = 4.5
"""From SIGTERM to SIGKILL. A command waits up to 4 s for answers in flight and saves them, which
took 4.1 s; Airflow 3 kills a task 5 s after it asked it to end."""

_POLL_S: Final = 0.05
_LAST_LINES_S: Final = 2.0
"""For the last lines of a child that has ended; another process may hold its stderr open."""

_LONGEST_LINE: Final = 65_536


class Child:
    """A running command.

    Args:
        command: Program and arguments.
        environment: Of the child, all of it.
        on_line: Called with each line on stderr, without its end, in a thread.
        stop_within_s: Seconds from SIGTERM to SIGKILL.

    Raises:
        OSError: if the program cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
        *,
        stop_within_s: float = STOP_WITHIN_S,
    ) -> None:
        self._stop_within_s = stop_within_s
        self._code: int | None = None
        self._is_stopped = False
        self._supervisor = os.getppid()
        self._out = tempfile.TemporaryFile()  # closed by `wait`
        try:
            self._process = subprocess.Popen(
                command,
                env={**environment, STOP_WITH_PARENT: "1"},
                stdin=subprocess.PIPE,
                stdout=self._out,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError:
            self._out.close()
            raise
        assert self._process.stderr is not None
        self._reader = threading.Thread(
            target=_pass_on, args=(self._process.stderr, on_line), daemon=True
        )
        self._reader.start()
        threading.Thread(target=self._note_end, daemon=True).start()

    @property
    def is_stopped(self) -> bool:
        """Whether the child was asked to stop: then its work counts as not done."""
        return self._is_stopped

    def wait(self) -> tuple[int, str]:
        """Wait for the end; return the exit code, minus the number of a signal, and stdout.

        If an exception interrupts the wait, the child is stopped before it is raised.
        """
        with self._out:
            try:
                while self._code is None:
                    if os.getppid() != self._supervisor:
                        self.stop()
                    time.sleep(_POLL_S)
            finally:
                self.stop()
            self._reader.join(_LAST_LINES_S)
            self._out.seek(0)
            return self._code, self._out.read().decode(errors="replace")

    def stop(self) -> None:
        """Send SIGTERM to the group of a child that still runs, and after a while SIGKILL."""
        if self._code is not None:
            return
        self._is_stopped = True
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + self._stop_within_s
        while self._code is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        if self._code is None:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has just ended
            os.killpg(self._process.pid, number)

    def _note_end(self) -> None:
        code = self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._code = code


def _pass_on(stderr: IO[bytes], on_line: Callable[[str], None]) -> None:
    """Pass on each line, a longer one in pieces, until the stream ends."""
    with stderr:
        try:
            for line in iter(lambda: stderr.readline(_LONGEST_LINE), b""):
                on_line(line.decode(errors="backslashreplace").rstrip("\r\n"))
        finally:  # a log that cannot be written must not block the child
            while stderr.read(_LONGEST_LINE):
                pass
