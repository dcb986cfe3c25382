"""A full disk, a folder without permission, a clock that jumps: real processes, real limits."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.real_runs import (
    ROOT,
    Ended,
    Service,
    end,
    environment,
    groups,
    killed,
    rerank_here,
    results,
    service,
    wait_until,
)

from pipeline.output.run_records import read_run_records
from pipeline.storage.location import locate

NUM_GROUPS, IN_FLIGHT, RATE = 240, 4, 200
RERANK = (sys.executable, "-m", "jobs")
DRIFTING = (
    sys.executable,
    "-c",
    """
import sys, time
real, began, jumps = time.time, time.monotonic(), eval(sys.argv.pop(1))
def drifting():
    return real() + jumps[int((time.monotonic() - began) / 0.15) % len(jumps)]
time.time = drifting
from jobs.cli import main
sys.exit(main(sys.argv[1:]))
""",
)
"""The command on a machine whose clock jumps by so many seconds, every 150 ms."""


ALLOW_LITTLE = ("--max-outage", "0.02")
"""Storage that fails for longer than 1.2 s ends the run."""


@dataclass(frozen=True)
class World:
    """Candidates, a service, and what a run on a sound machine makes of them."""

    service: Service
    given: Path
    expected: dict[str, bytes] = field(default_factory=dict)

    def options(self, output: Path, per_minute: int = 1_000_000) -> tuple[object, ...]:
        pace = ("--requests-per-minute", per_minute, "--max-in-flight", IN_FLIGHT)
        cut = ("--groups-per-part", 20, "--no-progress", "--json")
        return ("run", self.given, output, *self.service.options, *pace, *cut)

    def start(
        self,
        output: Path,
        command: tuple[str, ...] = RERANK,
        per_minute: int = 60 * RATE,
        limit: Callable[[], None] | None = None,
        more: tuple[str, ...] = (),
    ) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*command, *map(str, self.options(output, per_minute)), *more],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
        )

    def is_finished_by_the_next_run(self, output: Path) -> Ended:
        ended = rerank_here(*self.options(output))
        assert ended.code == 0, ended.err
        assert results(output) == self.expected
        return ended


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    given = groups([12] * NUM_GROUPS, folder / "in.parquet")
    with service("--latency-ms", 2) as emulator:
        world = World(emulator, given)
        assert rerank_here(*world.options(folder / "out")).code == 0
        yield World(emulator, given, results(folder / "out"))


def assert_little_is_paid_again(world: World, before: int) -> None:
    """Check that only answers in flight or of the last 50 ms were lost; twice that if slow."""
    answered = world.service.answers() - before
    assert NUM_GROUPS <= answered <= NUM_GROUPS + 2 * (IN_FLIGHT + 0.05 * RATE)


def test_a_limit_on_file_sizes_ends_a_run_with_one_line_and_little_is_paid_again(
    world: World, tmp_path: Path
) -> None:
    before, output = world.service.answers(), tmp_path / "out"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    full = end(world.start(output, limit=limit, more=ALLOW_LITTLE))

    assert full.code == 1
    assert f"{output}/_scores" in full.failure
    assert "File too large; lift the limit on file sizes (ulimit -f)" in full.failure
    assert 0 < world.service.answers() - before < NUM_GROUPS
    assert rerank_here("status", output, "--json").facts["state"] == "failed"
    world.is_finished_by_the_next_run(output)
    assert_little_is_paid_again(world, before)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of its own, where the machine allows it."""
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder))
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine mounts no tmpfs for us")
    try:
        yield folder
    finally:
        subprocess.run(("umount", str(folder)), check=True)


def test_a_full_disk_ends_a_run_with_one_line_and_little_is_paid_again(
    world: World, tmp_path: Path
) -> None:
    before = world.service.answers()
    with small_disk(tmp_path / "disk", 112 * 1024) as disk:
        full = end(world.start(disk / "out", more=ALLOW_LITTLE))
        left = [path.name for path in (disk / "out").rglob("*.unfinished")]
        status = rerank_here("status", disk / "out", "--json")
        grow = ("mount", "-o", "remount,size=20m", str(disk))
        subprocess.run(grow, check=True, capture_output=True)
        world.is_finished_by_the_next_run(disk / "out")

    assert full.code == 1
    assert "No space left on device; free disk space" in full.failure
    assert left == []
    assert status.facts["state"] in ("failed", "interrupted")
    assert_little_is_paid_again(world, before)


def test_a_folder_without_permission_is_refused_before_anything_is_sent(
    world: World, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    rights = ("-dac_override", "-dac_read_search")
    as_anybody = ("setpriv", f"--bounding-set={','.join(rights)}", f"--inh-caps={','.join(rights)}")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may write anywhere")
    command = (*as_anybody, *RERANK) if os.geteuid() == 0 else RERANK
    before = world.service.requests()

    refused = end(world.start(closed / "out", command))

    assert refused.code == 1
    assert f"{closed}/out" in refused.failure
    assert "Permission denied; check the permissions there" in refused.failure
    assert world.service.requests() == before


def test_an_output_below_a_file_is_refused_before_anything_is_sent(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    before = world.service.requests()

    refused = rerank_here(*world.options(tmp_path / "file" / "out"))

    assert refused.code == 1
    assert f"{tmp_path}/file/out" in refused.failure
    assert "Not a directory; a file stands where a folder is needed" in refused.failure
    assert world.service.requests() == before


@pytest.mark.parametrize(
    "jumps", ["[0, -300_000, 40_000_000, 300_000]", "[-40_000_000, -40_004_000]"]
)
def test_a_clock_that_jumps_changes_nothing(world: World, tmp_path: Path, jumps: str) -> None:
    before, output = world.service.answers(), tmp_path / "out"
    process = world.start(output, (*DRIFTING, jumps))
    wait_until(lambda: world.service.answers() - before >= 110, poll_s=0.01)
    killed(process)

    between = rerank_here("status", output, "--json")
    time.sleep(0.01)
    after = world.is_finished_by_the_next_run(output)
    jumping = end(world.start(output, (*DRIFTING, jumps)))

    assert between.facts["state"] == "interrupted"
    assert (jumping.code, jumping.facts["requests"]) == (0, 0), jumping.err
    assert "damaged" not in after.err
    states = [record.state for record in read_run_records(locate(str(output)))]
    assert states == ["running", "done", "done"], "in the order of the runs"
    assert rerank_here("status", output, "--json").facts["state"] == "done"
    assert_little_is_paid_again(world, before)


def test_a_store_that_is_removed_during_a_run_is_created_again(
    world: World, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    before = world.service.answers()
    process = world.start(output)
    wait_until(lambda: world.service.answers() - before >= 60, poll_s=0.01)

    shutil.rmtree(output / "_scores")
    removed_at = world.service.answers() - before
    wait_until(lambda: world.service.answers() - before >= removed_at + 60, timeout_s=10)
    process.send_signal(signal.SIGTERM)
    stopped = end(process)

    assert stopped.code == 143, stopped.err
    world.is_finished_by_the_next_run(output)
    lost = world.service.answers() - before - NUM_GROUPS
    assert lost <= 20 + 2 * (IN_FLIGHT + 0.05 * RATE), "its open part, and what came meanwhile"
