"""The offline rerank service as a child process of a job that has no other service to ask.

The library imports nothing of `jobs`: it starts the service by the name of its command.

The child imports what its parent would, but nothing from the working folder: a `jobs.py` or a
`random.py` of the user's stays out of it.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pipeline
from pipeline.core.errors import SettingsError
from pipeline.core.providers import EMULATOR_PATH

_EXIT_WITHIN_S = 5.0

_HOME = Path(pipeline.__file__).resolve().parents[1]
"""The folder that holds both packages, `pipeline` and `jobs`."""

_START = """\
import sys
count = int(sys.argv[1])
sys.path[:] = sys.argv[2 : 2 + count]
sys.argv[:] = ["rerank", *sys.argv[2 + count :]]
from jobs.cli import main
sys.exit(main())
"""


@contextmanager
def starting_emulator(*options: str) -> Iterator[Callable[[], str]]:
    """Start the service in a child process that exits with this one, even if this one is killed.

    Args:
        options: Command line options of `rerank emulate`.

    Yields:
        A function that waits until the service is up and returns its scheme, host and port; it
        raises SettingsError if the service does not start.
    """
    # A rerank.toml of the user's is meant for the job.
    fixed = ("--exit-with-parent", "--no-config")
    command = [*_isolated_rerank(), "emulate", *options, *fixed]
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
            return url.removesuffix(EMULATOR_PATH)

        try:
            yield address
        finally:
            child.stdin.close()
            try:
                child.wait(_EXIT_WITHIN_S)
            except subprocess.TimeoutExpired:
                child.kill()


def _isolated_rerank() -> list[str]:
    """Return the command that runs `rerank` with this process's modules, not the user's."""
    working_folder = Path.cwd().resolve()
    is_foreign = working_folder != _HOME
    paths = [
        path
        for path in sys.path
        if path and not (is_foreign and Path(path).resolve() == working_folder)
    ]
    if str(_HOME) not in paths:
        paths.append(str(_HOME))
    return [sys.executable, "-P", "-c", _START, str(len(paths)), *paths]


@contextmanager
def emulator_process(*options: str) -> Iterator[str]:
    """Run the service as `starting_emulator` does, and yield its scheme, host and port, once up.

    Raises:
        SettingsError: if it does not start.
    """
    with starting_emulator(*options) as address:
        yield address()
