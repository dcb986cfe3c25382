"""The service as a child process of a job that has no other service to ask."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core.errors import SettingsError

_END_S = 5.0  # in which the child ends by itself


@contextmanager
def emulator_process(*options: str) -> Iterator[str]:
    """Run the service in a child process, which ends with this one even if that is killed.

    Args:
        options: As on the command line of `rerank emulate`.

    Yields:
        Its address.
    """
    command = [sys.executable, "-m", "jobs", "emulate", *options, "--exit-with-parent"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is the job's, which still waits for answers
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            url = child.stdout.readline().strip()
            if not url:
                raise SettingsError("the emulator did not start", found=f"exit {child.wait()}")
            yield url
        finally:
            child.stdin.close()
            try:
                child.wait(_END_S)
            except subprocess.TimeoutExpired:
                child.kill()
