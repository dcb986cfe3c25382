"""Peak memory of a run: bounded for every input, and nearly independent of the number of groups.

Ten times as many small groups may take 15 % more. Every case keeps below the same bar: one row
group of a million rows, groups of 100,000 candidates, long texts, texts that pass through to the
output, and a slow service with many requests in flight. Two cases take the shared data, where these
are: SciFact with a thousand abstracts a claim, and QMSum, whose documents are transcripts of hours.

    python tests/benchmarks/bench_memory.py [--case million ...] [--quick] [--json]
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from made_groups import ROWS_PER_ROW_GROUP, Shape, make_dataset
from measuring_runs import IN_FLIGHT, ROOT, Bar, job_command, measured_job
from nginx_stub import NoEchoModule, nginx_stub

sys.path.insert(0, str(ROOT))

from pipeline.api.emulator_process import emulator_process
from pipeline.core.providers import EMULATOR_PATH

MAX_MB, MAX_GROWTH = 300.0, 1.15
MAX_DOCUMENTS = 500
"""In a request, by the limits of the default model."""
SMALL = Shape(documents=10, characters=100)
DATA = ROOT.parent / "shared" / "data"
SCIFACT = DATA / "scifact" / "candidates_top1000.parquet"
QMSUM = DATA / "qmsum_long" / "candidates_small.parquet"


@dataclass(frozen=True)
class Case:
    """One input and one service."""

    groups: int
    shape: Shape = SMALL
    rows_per_row_group: int = ROWS_PER_ROW_GROUP
    delay_s: float = 0.0
    in_flight: int = IN_FLIGHT
    options: tuple[str, ...] = ()
    by_emulator: bool = False
    """Asks an emulator, which scores requests of any size; nginx gives one answer to all."""
    shared: Path | None = None
    """A file of the shared data, of which the first groups are taken, instead of a made one."""


CASES = {
    "ten_thousand": Case(10_000),
    "hundred_thousand": Case(100_000),
    "million": Case(1_000_000),
    "one_row_group": Case(100_000, rows_per_row_group=1_000_000),
    "huge_groups": Case(3, Shape(documents=100_000, characters=100)),
    "long_texts": Case(2_000, Shape(documents=100, characters=1_000)),
    "with_text": Case(2_000, Shape(documents=100, characters=1_000), options=("--with-text",)),
    "thousand_long": Case(60, Shape(documents=1_000, characters=1_500), by_emulator=True),
    "max_passage": Case(
        20,
        Shape(documents=100, characters=40_000),
        options=("--long-documents", "max-passage"),
        by_emulator=True,
    ),
    "scifact": Case(60, by_emulator=True, shared=SCIFACT),
    "scifact_with_text": Case(60, by_emulator=True, shared=SCIFACT, options=("--with-text",)),
    "qmsum": Case(10, by_emulator=True, shared=QMSUM),
    "qmsum_max_passage": Case(
        10, by_emulator=True, shared=QMSUM, options=("--long-documents", "max-passage")
    ),
    "slow_service": Case(20_000, Shape(documents=50, characters=380), delay_s=0.2, in_flight=512),
}
FEW, MANY = "ten_thousand", "hundred_thousand"
SLOW = ("million",)


@contextmanager
def served(case: Case, folder: Path) -> Iterator[str]:
    """Run the service of a case, and yield its address.

    Raises:
        NoEchoModule: if it is to be slow and nginx cannot delay an answer.
    """
    if case.by_emulator:
        with emulator_process() as url:
            yield url + EMULATOR_PATH
    else:
        documents = min(case.shape.documents, MAX_DOCUMENTS)
        with nginx_stub(folder, documents, case.delay_s) as url:
            yield url


def made_input(case: Case, folder: Path) -> Path:
    """Write the input of a case, in a process of its own, and return its path."""
    source = folder / "in.parquet"
    arguments = (source, case.groups, case.shape, case.rows_per_row_group)
    making = multiprocessing.get_context("spawn").Process(target=make_dataset, args=arguments)
    making.start()
    making.join()
    rows = case.groups * case.shape.documents
    row_groups = pq.read_metadata(source).num_row_groups
    if row_groups != -(-rows // case.rows_per_row_group):
        raise SystemExit(f"{source}: {row_groups} row groups")
    return source


def peak_mb(case: Case) -> float:
    """Return the peak memory of one run, in MB.

    Raises:
        NoEchoModule: if the case needs a slow service and nginx cannot delay an answer.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = case.shared or made_input(case, folder)
        with served(case, folder) as url:
            command = job_command(source, folder / "out", url, case.in_flight)
            if case.shared is not None:
                command += ["--limit", str(case.groups)]
            run = measured_job([*command, *case.options], folder)
        if run.facts["groups_done"] != case.groups:
            raise SystemExit(f"{run.facts['groups_done']:,} groups of {case.groups:,}")
        return run.took.peak_mb


def main() -> None:
    """Measure the cases and print a table, or JSON; exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=list(CASES), action="append", help="[default: all]")
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = options.case or [name for name in CASES if not (options.quick and name in SLOW)]
    peaks: dict[str, float] = {}
    for name in names:
        if (shared := CASES[name].shared) is not None and not shared.exists():
            print(f"{name}: left out: no {shared}", file=sys.stderr)
            continue
        try:
            peaks[name] = peak_mb(CASES[name])
        except NoEchoModule as reason:
            print(f"{name}: left out: {reason}", file=sys.stderr)
    bars = [Bar(f"{name}, peak MB", peak, at_most=MAX_MB) for name, peak in peaks.items()]
    if peaks.keys() >= {FEW, MANY}:
        growth = peaks[MANY] / peaks[FEW]
        bars.append(Bar("100,000 small groups, x the peak of 10,000", growth, MAX_GROWTH))
    passed = all(bar.passed for bar in bars)
    if options.json:
        print(json.dumps({"schema_version": 1, "passed": passed, "peak_mb": peaks}))
    else:
        print("\n".join(bar.as_line() for bar in bars))
    sys.exit(not passed)


if __name__ == "__main__":
    main()
