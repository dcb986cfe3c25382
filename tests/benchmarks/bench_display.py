"""What progress, logs and records cost: CPU of a run with all of them beside one with none.

Both run on a terminal of their own and take turns on the same groups, against one nginx that
answers at once, so that the job is busy all the time: a run that waits for its quota draws as often
and does less else, but has CPU to spare. The bare run draws no line, logs nothing, samples nothing,
and writes its record at the start and the end alone. CPU is that of the whole process, start
included; the ratio is the median of those of single rounds.

    python bench_display.py [--groups N] [--rounds N] [--json]
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from made_groups import Shape, make_dataset
from measuring_runs import Bar, job_command, measured_job
from nginx_stub import nginx_stub

SHAPE = Shape(50, 380)
MAX_CPU_RATIO = 1.05

ON_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
BARE = """
import sys
from jobs.process.allocator import set_library_defaults
set_library_defaults()
from pipeline.dataset import ticker
from pipeline.output import run_records
run_records.LOCAL_UPDATE_S = 1e9
ticker.Ticker.sample = lambda self, *, is_last=False: None
from jobs.cli import main
sys.exit(main())
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="display-") as name:
        folder = Path(name)
        source, output = folder / "in.parquet", folder / "out"
        make_dataset(source, options.groups, SHAPE)
        with nginx_stub(folder, SHAPE.documents) as url:
            command = job_command(source, output, url)
            given = command[command.index("run") :]
            given.remove("--no-progress")
            bare = [sys.executable, "-c", BARE, *given, "--no-progress", "--quiet"]
            full = [sys.executable, "-m", "jobs", *given, "--log-file", str(folder / "log.jsonl")]
            cpu_s: dict[str, list[float]] = {"bare": [], "full": []}
            for _ in range(options.rounds):
                for kind, command in (("bare", bare), ("full", full)):
                    run = measured_job([sys.executable, "-c", ON_TERMINAL, *command], folder)
                    cpu_s[kind].append(run.took.cpu_s)
                    shutil.rmtree(output)

    ratios = [full / bare for bare, full in zip(cpu_s["bare"], cpu_s["full"], strict=True)]
    bar = Bar("CPU with progress, logs and records", median(ratios), at_most=MAX_CPU_RATIO)
    medians = {kind: median(seconds) for kind, seconds in cpu_s.items()}
    if options.json:
        print(json.dumps({"cpu_s": medians, "ratios": ratios, "bars": [bar.as_json()]}))
    else:
        print(f"CPU s, bare / full: {medians['bare']:.2f} / {medians['full']:.2f}")
        print("ratios: " + " ".join(f"{ratio:.3f}" for ratio in sorted(ratios)))
        print(bar.as_line())
    return 0 if bar.passed else 1


if __name__ == "__main__":
    sys.exit(main())
