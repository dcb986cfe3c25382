"""Peak memory of a run, against the nginx stub: it must not grow with the number of groups.

python tests/benchmarks/bench_memory.py [--json] [--case many ...]
"""

import argparse
import json
import multiprocessing
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from bench_throughput import Shape, job_command, make_dataset, measured, nginx_stub

SMALL = Shape(documents=10, characters=100)
CASES = {
    "some": (10_000, SMALL),
    "many": (100_000, SMALL),
    "one_row_group": (100_000, SMALL),
    "large_group": (1, Shape(documents=100_000, characters=100)),
}
"""Groups and their shape: 10,000 and 100,000 groups, 1,000,000 rows in one row group, 100,000
candidates of one query."""
BAR_MB = 300


def peak_mb(case: str) -> float:
    """The peak of one run, in MB."""
    _, shape = CASES[case]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "candidates.parquet"
        # In a process of its own: Linux counts the parent's peak as that of its child.
        making = multiprocessing.get_context("spawn").Process(target=make, args=(case, source))
        making.start()
        making.join()
        with nginx_stub(folder, min(shape.documents, 500)) as url:
            return measured(job_command(source, folder / "out", url)).peak_mb


def make(case: str, path: Path) -> None:
    """Write the dataset of a case."""
    make_dataset(path, *CASES[case])
    if case == "one_row_group":
        join_row_groups(path)


def join_row_groups(path: Path) -> None:
    """Write the file again with all its rows in one row group."""
    table: pa.Table = pq.read_table(path)
    pq.write_table(table, path, compression="zstd", row_group_size=table.num_rows)


def main() -> None:
    """Measure the cases and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=list(CASES), action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    peaks = {case: round(peak_mb(case), 1) for case in options.case or CASES}
    if options.json:
        print(json.dumps({"peak_mb": peaks, "bar_mb": BAR_MB}))
        return
    for case, peak in peaks.items():
        print(f"{case:16} {peak:8.1f} MB  (at most {BAR_MB})")


if __name__ == "__main__":
    main()
