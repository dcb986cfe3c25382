"""Runs of the command line, in processes of their own or in this one, against the emulator."""

import gc
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.logging_state import restored_logging
from support.loop_thread import in_thread
from support.tables import write

from jobs.cli import main
from jobs.emulator.command import emulate
from jobs.emulator.config import EmulatorConfig
from jobs.emulator.lifecycle import running_emulator
from pipeline.api.emulator_process import emulator_process
from pipeline.core.providers import EMULATOR_PATH

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "sample_data"
HOSTILE = ROOT.parent / "shared" / "data" / "hostile"
needs_hostile = pytest.mark.skipif(not HOSTILE.exists(), reason="the shared data is not here")
TIMEOUT_S = 60.0
KEY = "sk-a-key-that-nobody-may-see"
RESULTS = ("part-*.parquet", "_groups/*.parquet", "_rejects/*.parquet")


@dataclass(frozen=True)
class Ended:
    """The exit code of a command, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> dict[str, Any]:
        """The JSON object on stdout."""
        facts: dict[str, Any] = json.loads(self.out)
        return facts

    @property
    def failure(self) -> str:
        """The failure line on stderr: the last line, and the only one of its kind."""
        lines = self.err.splitlines()
        assert lines, "a failure is reported"
        assert "Traceback" not in self.err
        assert sum(line.startswith("rerank: error: ") for line in lines) == 1, self.err
        return lines[-1]


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without the command's variables, and with these."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RERANK_")}
    mine.pop("DASHSCOPE_API_KEY", None)
    return mine | variables


def start(
    *arguments: object, env: Mapping[str, str] | None = None, **how: Any
) -> "subprocess.Popen[str]":
    """Start `rerank` with these arguments."""
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", *map(str, arguments)],
        cwd=ROOT,
        env=environment() if env is None else dict(env),
        text=True,
        **(
            {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            | how
        ),
    )


def end(process: "subprocess.Popen[str]", timeout_s: float = TIMEOUT_S) -> Ended:
    """Wait for a process to exit; kill it and fail if it does not."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except BaseException:  # too late or interrupted: leave no process running
        process.kill()
        process.communicate()
        raise
    return Ended(process.returncode, out or "", err or "")


def rerank(*arguments: object, env: Mapping[str, str] | None = None) -> Ended:
    """Run `rerank` in a process to its end."""
    return end(start(*arguments, env=env))


def rerank_here(*arguments: object) -> Ended:
    """Run `rerank` in this process, which is faster; restore logging and collector afterwards."""
    out, err = io.StringIO(), io.StringIO()
    thresholds = gc.get_threshold()
    try:
        with restored_logging(), redirect_stdout(out), redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
    finally:
        gc.set_threshold(*thresholds)
    return Ended(code, out.getvalue(), err.getvalue())


def killed(process: "subprocess.Popen[str]") -> Ended:
    """Kill a running process with SIGKILL."""
    assert process.poll() is None, "the process exited before it could be killed"
    process.kill()
    ended = end(process)
    assert ended.code == -signal.SIGKILL
    return ended


def wait_until(
    condition: Callable[[], Any], *, poll_s: float = 0.005, timeout_s: float = TIMEOUT_S
) -> Any:
    """Poll until the condition returns something true, and return that."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition was not met in time"
        if poll_s:
            time.sleep(poll_s)
    return found


@dataclass(frozen=True)
class Service:
    """A running emulator."""

    address: str

    @property
    def options(self) -> tuple[str, ...]:
        """The options of a run that uses it."""
        return ("--provider", "emulator", "--url", self.address + EMULATOR_PATH)

    def stats(self) -> dict[str, Any]:
        """Return its counts so far."""
        with urllib.request.urlopen(f"{self.address}/emulator/stats", timeout=10) as response:
            facts: dict[str, Any] = json.load(response)
        return facts

    def requests(self) -> int:
        """Return the number of requests received so far."""
        return int(self.stats()["requests"])

    def answers(self) -> int:
        """Return the number of requests answered with scores."""
        return int(self.stats()["by_status"].get("200", 0))

    def refusals(self) -> int:
        """Return the number of requests answered with 429."""
        return int(self.stats()["by_status"].get("429", 0))


@contextmanager
def service(*options: object) -> Iterator[Service]:
    """Run an emulator, with these command line options, while the body runs.

    One that keeps a quota, or fails, is a process of its own: it counts by the clock, which nothing
    here may hold up, and resets connections as a process does. Others are a thread of this process,
    which starts in no time.
    """
    given = [str(option) for option in options]
    if any(option.endswith(("-per-minute", "--fault", "--fail-rate")) for option in given):
        with emulator_process(*given) as address:
            yield Service(address)
        return
    chosen = emulate.make_context("emulate", given).params
    del chosen["exit_with_parent"]
    with in_thread(running_emulator(EmulatorConfig(**chosen))) as running:
        yield Service(running.url)


def groups(
    sizes: Sequence[int], path: Path, *, texts: Mapping[tuple[int, int], str | None] | None = None
) -> Path:
    """Write candidates, a group for each size; `texts` replaces texts by group and place."""
    places = [(group, place) for group, size in enumerate(sizes) for place in range(size)]
    words = ["river", "bank", "tent", "stove", "camp", "trail", "map", "rope", "boot", "lake"]
    default = {
        (group, place): " ".join(words[(group * 7 + place * k + k) % 10] for k in range(1, 6))
        + f" {group} {place}"
        for group, place in places
    }
    chosen = default | dict(texts or {})
    table = pa.table(
        {
            "query_id": [f"q{group}" for group, _ in places],
            "query": [
                f"{words[group % 10]} {words[group // 10 % 10]} {group}" for group, _ in places
            ],
            "doc_id": [f"d{group}-{place}" for group, place in places],
            "text": pa.array([chosen[at] for at in places], pa.string()),
            "note": [f"note {group}" for group, _ in places],
        }
    )
    return write(table, path)


def results(output: Path) -> dict[str, bytes]:
    """Return the bytes of all result files of an output, by path."""
    return {
        str(file.relative_to(output)): file.read_bytes()
        for pattern in RESULTS
        for file in sorted(output.glob(pattern))
    }


def ranked(output: Path) -> list[dict[str, Any]]:
    """Return the rows of all parts, in order."""
    tables = [pq.read_table(file, partitioning=None) for file in sorted(output.glob("part-*"))]
    rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist()
    return rows


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of `_groups` or `_rejects`."""
    tables = [pq.read_table(file, partitioning=None) for file in sorted(folder.glob("part-*"))]
    return pa.concat_tables(tables).to_pylist() if tables else []


def last_record(output: Path) -> dict[str, Any]:
    """Return the record of the last run on an output."""
    newest = max((output / "_runs").glob("*.json"))
    record: dict[str, Any] = json.loads(newest.read_text())
    return record
