"""The processes of the service and the contestants, run within a time limit and measured."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Counts:
    """What the service saw since it was reset.

    Attributes:
        answered: Requests answered with scores, each of which is paid.
        groups: Distinct queries among them.
        throttled: Requests refused with 429.
        active_s: From the first request to the last answer.
        same: Whether it was not reset while the call waited.
    """

    answered: int
    groups: int
    throttled: int
    most_in_flight: int
    active_s: float
    same: bool


@dataclass(frozen=True, slots=True)
class Service:
    """The service of `service.py`, as the benchmark sees it."""

    url: str

    def reset(self, per_s: float | None = None) -> None:
        self._get("_reset", f"per_s={per_s or ''}")

    def counts(self) -> Counts:
        """Return the counts, once nothing is in flight."""
        return self._get("_settled")

    def wait_answered(self, count: int) -> bool:
        """Wait for so many answers; False if it was reset before."""
        return self._get("_answered", f"count={count}").same

    def _get(self, path: str, query: str = "") -> Counts:
        with urllib.request.urlopen(f"{self.url}/{path}?{query}") as answer:
            return Counts(**json.load(answer))


@contextmanager
def running_service() -> Iterator[Service]:
    """Run the service in a process of its own, which exits with this one."""
    with subprocess.Popen(
        [sys.executable, HERE / "service.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Service(process.stdout.readline().strip())
        finally:
            process.stdin.close()


@dataclass(frozen=True, slots=True)
class Took:
    """What a process took.

    Attributes:
        status: Its exit code; negative for the signal that killed it.
        in_time: Whether it ended by itself, or by the kill that was asked for, within the limit.
    """

    status: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    in_time: bool


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    folder: Path,
    log: Path,
    limit_s: float,
    kill_after: tuple[Service, int] | None = None,
) -> Took:
    """Run a process to its end.

    Args:
        command: The program, by its path, and its arguments.
        environment: All its variables.
        folder: Where it runs.
        log: What it prints is appended to this file.
        limit_s: It is killed after so long.
        kill_after: It is also killed, with SIGKILL, when the service has given so many answers.
    """
    launcher = [sys.executable, "-S", "-E", str(HERE / "launch.py"), str(log), *command]
    with subprocess.Popen(
        launcher, stdout=subprocess.PIPE, text=True, env=dict(environment), cwd=folder
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())

        def kill() -> None:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

        killed = threading.Event()

        def kill_when_answered(service: Service, count: int) -> None:
            if service.wait_answered(count):
                killed.set()
                kill()

        if kill_after is not None:
            threading.Thread(target=kill_when_answered, args=kill_after, daemon=True).start()
        in_time = True
        try:
            report, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            in_time = False
            kill()
            report, _ = process.communicate()
        except BaseException:  # interrupted: leave no process behind
            kill()
            raise
        if kill_after is not None and not killed.is_set():
            kill_after[0].reset()  # the thread need not wait any longer
    return Took(**json.loads(report), in_time=in_time)
