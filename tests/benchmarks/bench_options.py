"""What options cost: CPU of a run with one beside the same run without it.

Both take turns on the same groups. A ratio is the median of those of single rounds, of the CPU of
the whole process, its start included.

* `--with-text`: the texts are written too, which is as much to compress as was sent.
* `--reuse partial`, nothing stored yet: a digest of each document is stored with its score.
* `--reuse partial`, a night later: eight of fifty documents of each query are new. They are sent
  with some old ones, and the two answers are compared and merged, where the run without it sends
  all fifty. An emulator answers, since nginx gives one answer to all.

    python tests/benchmarks/bench_options.py [--case NAME ...] [--groups N] [--rounds N] [--json]
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from made_groups import ROWS_PER_ROW_GROUP, Shape, make_dataset
from measuring_runs import ROOT, Bar, job_command, measured_job
from nginx_stub import nginx_stub

sys.path.insert(0, str(ROOT))

from pipeline.api.emulator_process import emulator_process
from pipeline.core.providers import EMULATOR_PATH

SHAPE, OLD_DOCUMENTS = Shape(50, 380), 42
PARTIAL = ("--reuse", "partial")
MAX_CPU_RATIO = {"with_text": 1.6, "partial_first": 1.5, "partial_later": 4.0}
GROUPS = {"with_text": 4_000, "partial_first": 4_000, "partial_later": 1_000}

Pair = tuple[list[float], list[float]]
"""CPU seconds without the option and with it, a round each."""


def in_turns(plain: Callable[[], float], other: Callable[[], float], rounds: int) -> Pair:
    """Return what both took in turns."""
    took: Pair = ([], [])
    for _ in range(rounds):
        took[0].append(plain())
        took[1].append(other())
    return took


def cpu_s(command: Sequence[str], output: Path, folder: Path) -> float:
    """Run the job, remove its output, and return the CPU that it took."""
    run = measured_job(command, folder)
    shutil.rmtree(output)
    return run.took.cpu_s


def beside_plain(folder: Path, groups: int, rounds: int, options: Sequence[str]) -> Pair:
    """Compare runs with options and without, all of whose requests are sent."""
    source, output = folder / "in.parquet", folder / "out"
    make_dataset(source, groups, SHAPE)
    with nginx_stub(folder, SHAPE.documents) as url:
        plain = job_command(source, output, url)
        return in_turns(
            lambda: cpu_s(plain, output, folder),
            lambda: cpu_s([*plain, *options], output, folder),
            rounds,
        )


def a_night_later(folder: Path, groups: int, rounds: int) -> Pair:
    """Compare exact and partial reuse where some documents of each query are new."""
    first, later, output = folder / "first.parquet", folder / "later.parquet", folder / "out"
    kept, store = folder / "kept", folder / "store"
    make_dataset(first, groups, SHAPE)
    make_dataset(later, groups, SHAPE, seed=8)
    renew(later, first)

    with emulator_process() as address:
        url = address + EMULATOR_PATH
        stored = (*PARTIAL, "--score-store", str(kept))
        cpu_s([*job_command(first, output, url), *stored], output, folder)

        def with_store(*options: str) -> float:
            shutil.rmtree(store, ignore_errors=True)
            shutil.copytree(kept, store)
            command = job_command(later, output, url)
            command[command.index("trust")] = "auto"
            return cpu_s([*command, "--score-store", str(store), *options], output, folder)

        return in_turns(with_store, lambda: with_store(*PARTIAL), rounds)


def renew(later: Path, first: Path) -> None:
    """Replace the first documents of each query by those of another data set."""
    new, old = pq.read_table(later), pq.read_table(first)
    place = np.arange(old.num_rows) % SHAPE.documents
    is_old = pa.array(place < OLD_DOCUMENTS)
    texts = pc.if_else(is_old, old["text"], new["text"])
    ids = pc.if_else(is_old, old["doc_id"], pc.binary_join_element_wise("n", old["doc_id"], ""))
    names = old.schema.names
    mixed = old.set_column(names.index("text"), "text", texts)
    mixed = mixed.set_column(names.index("doc_id"), "doc_id", ids)
    pq.write_table(mixed, later, compression="zstd", row_group_size=ROWS_PER_ROW_GROUP)


def measure(case: str, groups: int, rounds: int) -> Pair:
    """Return the CPU seconds of a case."""
    with tempfile.TemporaryDirectory() as name:
        if case == "partial_later":
            return a_night_later(Path(name), groups, rounds)
        options = PARTIAL if case == "partial_first" else ("--with-text",)
        return beside_plain(Path(name), groups, rounds, options)


def main() -> None:
    """Measure the cases and print a table, or JSON; exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=list(GROUPS), action="append", help="[default: all]")
    parser.add_argument("--groups", type=int, help="of each case")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bars, ms = [], {}
    for case in options.case or GROUPS:
        groups = options.groups or GROUPS[case]
        plain, other = measure(case, groups, options.rounds)
        ratio = median(b / a for a, b in zip(plain, other, strict=True))
        bars.append(Bar(f"{case}: CPU, x the run without", ratio, at_most=MAX_CPU_RATIO[case]))
        ms[case] = [1e3 * median(took) / groups for took in (plain, other)]
    passed = all(bar.passed for bar in bars)
    if options.json:
        facts = {"schema_version": 1, "passed": passed, "cpu_ms_per_group": ms}
        print(json.dumps({**facts, "bars": [bar.as_json() for bar in bars]}))
    else:
        for case, (plain_ms, other_ms) in ms.items():
            print(f"{case:14} CPU ms a group, without / with: {plain_ms:.2f} / {other_ms:.2f}")
        print("\n".join(bar.as_line() for bar in bars))
    sys.exit(not passed)


if __name__ == "__main__":
    main()
