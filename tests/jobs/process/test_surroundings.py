"""A run in an odd environment: closed descriptors, other masks, a terminal that goes away."""

import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.real_runs import (
    ROOT,
    Service,
    end,
    environment,
    groups,
    start,
    wait_until,
)


def command(given: Path, out: Path, service: Service) -> str:
    """Return the shell words of a run against a service."""
    words = [sys.executable, "-m", "jobs", "run", str(given), str(out), "--no-progress"]
    return shlex.join([*words, *service.options])


def shell(line: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-c", line],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_whose_descriptors_are_closed_ends_well(
    closed: str, tmp_path: Path, quick_service: Service
) -> None:
    given, out = groups([3, 2], tmp_path / "in.parquet"), tmp_path / "out"

    ended = shell(f"{command(given, out, quick_service)} {closed}")

    assert ended.returncode == 0
    assert (out / "_SUCCESS").exists()
    assert pq.read_table(out / "part-00000.parquet").num_rows == 5


def test_a_run_that_may_open_few_files_sends_fewer_requests_at_once(
    tmp_path: Path, quick_service: Service
) -> None:
    given, out = groups([3] * 300, tmp_path / "in.parquet"), tmp_path / "out"
    line = f"{command(given, out, quick_service)} --max-in-flight 512"

    ended = shell(f"ulimit -n 100; {line}")

    assert ended.returncode == 0
    assert "pace.few_files open_files=100 max_in_flight=36 wanted=512" in ended.stderr
    assert "unreachable" not in ended.stderr


def test_files_of_an_output_follow_the_umask(tmp_path: Path, quick_service: Service) -> None:
    given, out = groups([3], tmp_path / "in.parquet"), tmp_path / "out"

    assert shell(f"umask 002; {command(given, out, quick_service)}").returncode == 0

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in out.rglob("*") if path.is_file()}
    assert {path.name: oct(mode) for path, mode in modes.items() if mode != 0o664} == {}
    assert any(path.parent.name == "_scores" for path in modes)


@pytest.mark.parametrize(
    "printed_to",
    ["> /dev/full", "| true; exit ${PIPESTATUS[0]}"],
    ids=["a full disk", "a reader that is gone"],
)
def test_a_report_that_cannot_be_printed_does_not_fail_a_finished_run(
    printed_to: str, tmp_path: Path, quick_service: Service
) -> None:
    given, out = groups([3], tmp_path / "in.parquet"), tmp_path / "out"

    ended = shell(f"{command(given, out, quick_service)} {printed_to}")

    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert (out / "_SUCCESS").exists()


def test_a_report_is_escaped_where_the_terminal_lacks_its_characters(
    tmp_path: Path, quick_service: Service
) -> None:
    given, out = groups([3], tmp_path / "in.parquet"), tmp_path / "исход"

    ended = shell(command(given, out, quick_service), PYTHONIOENCODING="latin-1")

    assert ended.returncode == 0
    assert "\\u0438\\u0441\\u0445\\u043e\\u0434" in ended.stdout


def requests_of(out: Path) -> bool:
    return any(path.stat().st_size for path in (out / "_scores").glob("*"))


def heeds_hangups() -> None:
    """Undo what nohup does, in case the tests were started by it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_a_hangup_stops_a_run_as_a_termination_does(tmp_path: Path) -> None:
    given, out = groups([2] * 200, tmp_path / "in.parquet"), tmp_path / "out"
    options = ("--provider", "emulator", "--requests-per-minute", "600", "--no-progress")
    process = start("run", given, out, *options, preexec_fn=heeds_hangups)
    try:
        wait_until(lambda: requests_of(out))
        asked = time.monotonic()
        process.send_signal(signal.SIGHUP)
        ended = end(process)
    finally:
        process.kill()

    assert ended.code == 143
    assert "interrupted, state saved" in ended.failure
    assert time.monotonic() - asked < 6


def test_a_hangup_that_the_caller_ignores_does_not_stop_a_run(tmp_path: Path) -> None:
    given, out = groups([2] * 30, tmp_path / "in.parquet"), tmp_path / "out"
    options = ("--provider", "emulator", "--requests-per-minute", "1200", "--no-progress")
    process = start(
        "run", given, out, *options, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    try:
        wait_until(lambda: requests_of(out))
        os.kill(process.pid, signal.SIGHUP)
        ended = end(process)
    finally:
        process.kill()

    assert ended.code == 0
