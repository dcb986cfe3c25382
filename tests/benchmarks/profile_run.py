"""Where a run's time goes: the job under py-spy, or under cProfile where that is not installed.

python tests/benchmarks/profile_run.py [--groups 10000] [--shape short] [--top 30]
"""

import argparse
import pstats
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench_throughput import SHAPES
from made_groups import make_dataset
from measuring_runs import job_command, measured
from nginx_stub import nginx_stub

MAIN = "<module> (jobs/__main__.py:1)"
PY_SPY = Path(sys.executable).with_name("py-spy")


def main() -> None:
    """Profile one run against the stub and print its most expensive functions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--shape", choices=list(SHAPES), default="short")
    parser.add_argument("--top", type=int, default=30)
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, profile = folder / "candidates.parquet", folder / "profile"
        make_dataset(source, options.groups, shape)
        with nginx_stub(folder, min(shape.documents, 500)) as url:
            job = job_command(source, folder / "out", url)
            if PY_SPY.exists():
                # Without pauses: a thread that is stopped 500 times a second is another program.
                spy = (str(PY_SPY), "record", "--gil", "--nonblocking", "-F", "-r", "500")
                measured([*spy, "-f", "raw", "-o", str(profile), "--", *job], folder)
                show_samples(profile.read_text(), options.top)
            else:
                measured([job[0], "-m", "cProfile", "-o", str(profile), *job[1:]], folder)
                pstats.Stats(str(profile)).sort_stats("tottime").print_stats(options.top)


def show_samples(raw: str, top: int) -> None:
    """Print where the GIL was held: by module and kind of thread, by function, with callees."""
    modules: Counter[str] = Counter()
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, count = line.rsplit(" ", 1)
        frames = stack.split(";")
        kind = "main thread   " if MAIN in frames else "other threads "
        modules[kind + _module(frames[-1])] += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    total = own.total()
    for title, counts in (("module", modules), ("function", own), ("function and callees", whole)):
        print(f"\n% of samples, by {title}")
        for name, samples in counts.most_common(top):
            print(f"{100 * samples / total:6.1f}  {name}")


def _module(frame: str) -> str:
    """Return the module of ours, or the package of others, in `function (path:line)`."""
    path = frame.rpartition(" (")[2].partition(":")[0]
    return path if path.startswith(("pipeline/", "jobs/")) else path.partition("/")[0]


if __name__ == "__main__":
    main()
