"""Two shards, a core each, against one run on one core: how much faster they are together.

Where cores bind, a run takes as long as its CPU time on its core, and two shards as long as the
one that takes more; so the bar is the ratio of these. It is the same on a busy machine, and with a
service elsewhere: nginx, which answers here after a fixed time, takes of the second core what a
single run leaves to it. The ratio by the clock is printed beside it. What one shard reads first to
find where parts end is counted in. Run: python tests/benchmarks/bench_shards.py
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from made_groups import Shape, make_dataset
from measuring_runs import ROOT, Bar
from nginx_stub import nginx_stub

LEAST_RATIO = 1.7
SHAPE = Shape(documents=50, characters=380)
DELAY_S = 0.02
IN_FLIGHT = 128


def started(source: Path, output: Path, url: str, core: int, *more: str) -> subprocess.Popen[str]:
    """Start a run that may use one core alone."""
    quota = ("--requests-per-minute", "10000000", "--tokens-per-minute", "1e12")
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "jobs", "run", str(source), str(output), "--url", url, *quota),
            *("--merge", "trust", "--max-in-flight", str(IN_FLIGHT), "--no-progress", "--json"),
            *("--no-config", "--groups-per-part", "500", *more),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "DASHSCOPE_API_KEY": "any"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )


def ended(run: subprocess.Popen[str]) -> tuple[int, float]:
    """Wait for a run; return how many requests it sent, and its CPU time in seconds."""
    assert run.stdout is not None
    out = run.stdout.read()
    _, status, used = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    assert run.returncode == 0, f"exit {run.returncode}"
    return json.loads(out)["requests"], used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Took:
    """Seconds of one turn: on the clock, and of CPU of the run that took most."""

    wall_s: float
    cpu_s: float


def turn(source: Path, output: Path, url: str, groups: int, *shards: str) -> Took:
    """Run one whole run, or these shards at once, each on a core of its own."""
    began = time.monotonic()
    wanted = [("--shard", shard) for shard in shards] or [()]
    cores = sorted(os.sched_getaffinity(0))
    assert len(cores) >= len(wanted), "needs a core for each"
    runs = [
        started(source, output, url, core, *more) for core, more in zip(cores, wanted, strict=False)
    ]
    all_ended = [ended(run) for run in runs]
    assert sum(sent for sent, _ in all_ended) == groups
    return Took(time.monotonic() - began, max(cpu_s for _, cpu_s in all_ended))


def measure(groups: int, turns: int) -> tuple[Took, Took]:
    """Return the best turn of one run, and of two shards."""
    ones, twos = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "in.parquet"
        make_dataset(source, groups, SHAPE)
        with nginx_stub(folder, SHAPE.documents, DELAY_S) as url:
            for number in range(turns):
                ones.append(turn(source, folder / f"one{number}", url, groups))
                twos.append(turn(source, folder / f"two{number}", url, groups, "1/2", "2/2"))
    return min(ones, key=lambda took: took.cpu_s), min(twos, key=lambda took: took.cpu_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=40_000)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    one, two = measure(options.groups, options.turns)
    for name, took in (("one run on one core", one), ("two shards, a core each", two)):
        print(f"{name}: {took.wall_s:.1f} s, of CPU {took.cpu_s:.1f} s of the busiest process")
    print(f"by the clock {one.wall_s / two.wall_s:.2f} times as fast")
    bar = Bar("two shards against one run, CPU", one.cpu_s / two.cpu_s, at_least=LEAST_RATIO)
    print(bar.as_line())
    return 0 if bar.passed else 1


if __name__ == "__main__":
    sys.exit(main())
