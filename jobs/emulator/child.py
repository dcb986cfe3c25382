"""The offline rerank service as a child process of a job that has no other service to ask."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.core.errors import SettingsError

_EXIT_WITHIN_S = 5.0


@contextmanager
def starting_emulator(*options: str) -> Iterator[Callable[[], str]]:
    """Start the service in a child process that exits with this one, even if this one is killed.

    Args:
        options: Command line options of `rerank emulate`.

    Yields:
        A function that waits until the service is up and returns its address; it raises
        SettingsError if the service does not start.
    """
    command = [sys.executable, "-m", "jobs", "emulate", *options, "--exit-with-parent"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the job, which still waits for answers
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        announced = child.stdout

        def address() -> str:
            url = announced.readline().strip()
            if not url:
                raise SettingsError("the emulator did not start", found=f"exit {child.wait()}")
            return url

        try:
            yield address
        finally:
            child.stdin.close()
            try:
                child.wait(_EXIT_WITHIN_S)
            except subprocess.TimeoutExpired:
                child.kill()


@contextmanager
def emulator_process(*options: str) -> Iterator[str]:
    """Run the service as `starting_emulator` does, and yield its address once it is up.

    Raises:
        SettingsError: if it does not start.
    """
    with starting_emulator(*options) as address:
        yield address()
