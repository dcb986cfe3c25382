"""Rows a second and peak memory of `rerank export`, in every format, on an output of its own.

    python tests/benchmarks/bench_export.py [--groups 10000] [--format jsonl ...] [--json]

With `--groups 100000` the output has ten million rows; memory must be as for a tenth of them.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from made_output import make_output
from measuring_runs import Bar, measured, print_bars

DOCUMENTS = 100
LEAST_ROWS_PER_S = 300_000.0
MAX_MB, MAX_GROWTH = 300.0, 1.15
CASES = {
    "trec": ("run.trec",),
    "jsonl": ("run.jsonl",),
    "jsonl.zst": ("run.jsonl.zst",),
    "jsonl.gz": ("run.jsonl.gz",),
    "parquet": ("run.parquet",),
    "es-bulk": ("bulk.ndjson", "--format", "es-bulk", "--index", "bench"),
    "es-bulk per document": (
        *("docs.ndjson", "--format", "es-bulk", "--index", "bench", "--per-document"),
    ),
}


def bars(case: str, output: Path, small: Path, rows: int, folder: Path) -> list[Bar]:
    """Export the whole output and a tenth of it."""
    dest, *options = CASES[case]
    export = [sys.executable, "-m", "jobs", "export"]
    took, _ = measured([*export, str(output), str(folder / dest), *options], folder)
    tenth, _ = measured([*export, str(small), str(folder / f"small-{dest}"), *options], folder)
    (folder / dest).unlink()
    # The start, some tenths of a second, is not of the rows.
    per_s = 0.9 * rows / (took.wall_s - tenth.wall_s)
    return [
        Bar(f"{case}: rows/s", per_s, at_least=LEAST_ROWS_PER_S),
        Bar(f"{case}: peak MB", took.peak_mb, at_most=MAX_MB),
        Bar(
            f"{case}: peak against a tenth of the rows",
            took.peak_mb / tenth.peak_mb,
            at_most=MAX_GROWTH,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=20_000)
    parser.add_argument("--format", action="append", choices=CASES)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output = make_output(folder / "out", options.groups, DOCUMENTS)
        small = make_output(folder / "small", options.groups // 10, DOCUMENTS)
        found = [
            bar
            for case in options.format or CASES
            for bar in bars(case, output, small, options.groups * DOCUMENTS, folder)
        ]
    print_bars(found, as_json=options.json)


if __name__ == "__main__":
    main()
