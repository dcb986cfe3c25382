"""A run killed before and after each of its file operations, and run again. Takes minutes.

The process kills itself with SIGKILL at the k-th operation on a file of its output, for every k: so
every moment of its start and of its end is hit, which a kill from outside cannot aim at.
"""

import subprocess
import sys
from pathlib import Path

from support.real_runs import ROOT, environment, groups, rerank_here, results, service

from pipeline.score_store.maintenance import info
from pipeline.storage.location import locate

SIZES = [9 if group % 5 == 0 else 3 for group in range(24)]

KILLING = """
import builtins, fcntl, io, os, signal, sys, threading

output, kill_at = sys.argv[1], int(sys.argv[2])
count, counting = 0, threading.Lock()

def is_below(place):
    if isinstance(place, int):
        try:
            place = os.readlink(f"/proc/self/fd/{place}")
        except OSError:
            return False
    return isinstance(place, (str, os.PathLike)) and os.fspath(place).startswith(output)

def step():
    global count
    with counting:
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

def killing(operation):
    def operate(*arguments, **options):
        if not any(map(is_below, arguments[:2])):
            return operation(*arguments, **options)
        step()
        result = operation(*arguments, **options)
        step()
        return result
    return operate

for name in ("open", "write", "pwrite", "fsync", "ftruncate", "replace", "link", "unlink",
             "remove", "mkdir", "rmdir"):
    setattr(os, name, killing(getattr(os, name)))
io.open = builtins.open = killing(open)
fcntl.flock = killing(fcntl.flock)

from jobs.cli import main

code = main(sys.argv[3:])
print(count)
sys.exit(code)
"""


def test_a_run_killed_at_any_file_operation_gives_the_same_bytes_and_pays_nothing_saved_again(
    tmp_path: Path,
) -> None:
    with service() as emulator:
        pace = ("--max-in-flight", 8, "--requests-per-minute", 1_000_000)
        cut = ("--max-documents", 5, "--groups-per-part", 8, "--certify-depth", 4)
        given = groups(SIZES, tmp_path / "in.parquet")

        def command(output: Path) -> tuple[object, ...]:
            return ("run", given, output, *emulator.options, *pace, *cut, "--no-progress", "-q")

        def run_killing(output: Path, kill_at: int) -> "subprocess.CompletedProcess[str]":
            arguments = [str(output), str(kill_at), *map(str, command(output))]
            return subprocess.run(
                [sys.executable, "-c", KILLING, *arguments],
                cwd=ROOT, env=environment(), capture_output=True, text=True,
            )  # fmt: skip

        whole = run_killing(tmp_path / "whole", 0)
        assert whole.returncode == 0, whole.stderr
        expected, total = results(tmp_path / "whole"), emulator.requests()
        kills = 0
        for kill_at in range(1, int(whole.stdout) + 1):
            output = tmp_path / f"out-{kill_at}"
            kills += run_killing(output, kill_at).returncode == -9
            saved, before = info(locate(str(output / "_scores"))).requests, emulator.requests()

            again = rerank_here(*command(output))

            assert again.code == 0, (kill_at, again.err)
            assert results(output) == expected, kill_at
            assert (output / "_SUCCESS").exists(), kill_at
            assert emulator.requests() - before <= max(total - saved, 0), kill_at
    assert kills > 100
