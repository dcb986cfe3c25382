"""What the start takes: `rerank --help`, and a run of ten groups beside the bare loop.

All three take turns, on ten groups and against one nginx that answers at once. Figures are CPU
seconds of whole processes, the medians of their rounds: that is what a start takes on a machine
that does nothing else, and on a shared one the clock tells more about the others.

    python tests/benchmarks/bench_startup.py [--rounds N] [--json]
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench_throughput import FLOOR
from made_groups import Shape, make_dataset
from measuring_runs import Bar, job_command, measured, measured_job
from nginx_stub import nginx_stub

SHAPE, GROUPS = Shape(50, 380), 10
MAX_HELP_S, MAX_ABOVE_FLOOR_S = 0.1, 0.5


def measure(rounds: int) -> dict[str, float]:
    """Return the CPU seconds of each, by name."""
    cpu_s: dict[str, list[float]] = {"help": [], "floor": [], "run": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, output = folder / "in.parquet", folder / "out"
        make_dataset(source, GROUPS, SHAPE)
        with nginx_stub(folder, SHAPE.documents) as url:
            lines = folder / "floor.jsonl"
            floor = [sys.executable, "-c", FLOOR, *map(str, (source, url, lines, SHAPE.documents))]
            for _ in range(rounds):
                cpu_s["help"].append(
                    measured([sys.executable, "-m", "jobs", "--help"], folder)[0].cpu_s
                )
                cpu_s["floor"].append(measured(floor, folder)[0].cpu_s)
                cpu_s["run"].append(
                    measured_job(job_command(source, output, url), folder).took.cpu_s
                )
                shutil.rmtree(output)
    return {case: median(seconds) for case, seconds in cpu_s.items()}


def main() -> None:
    """Measure, and print a table or JSON; exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cpu_s = measure(options.rounds)
    above_s = cpu_s["run"] - cpu_s["floor"]
    bars = [
        Bar("rerank --help, CPU s", cpu_s["help"], at_most=MAX_HELP_S),
        Bar("a run of ten groups, CPU s above the bare loop", above_s, at_most=MAX_ABOVE_FLOOR_S),
    ]
    passed = all(bar.passed for bar in bars)
    if options.json:
        facts = {"schema_version": 1, "passed": passed, "cpu_s": cpu_s}
        print(json.dumps({**facts, "bars": [bar.as_json() for bar in bars]}))
    else:
        print("CPU s: " + ", ".join(f"{case} {seconds:.3f}" for case, seconds in cpu_s.items()))
        print("\n".join(bar.as_line() for bar in bars))
    sys.exit(not passed)


if __name__ == "__main__":
    main()
