"""Rows a second of COPY into the staging table of PostgreSQL, of whole loads, and their memory.

The server is started on loopback. Needs Debian's package `postgresql`.

    python tests/benchmarks/bench_load.py [--groups 20000] [--json]

With `--groups 100000` the output has ten million rows; memory must be as for a tenth of them.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from made_output import make_output
from measuring_runs import Bar, measured, print_bars
from support.postgresql import postgresql

from pipeline.export.result import open_result
from pipeline.export.targets.postgresql import PostgresqlTarget
from pipeline.export.targets.target import TargetTable

DOCUMENTS = 100
LEAST_ROWS_PER_S = 300_000.0
LEAST_LOADED_PER_S = 30_000.0
"""With the index of the primary key, on two cores that the server shares."""
MAX_MB, MAX_GROWTH = 300.0, 1.15


def copied_per_s(output: Path, address: str) -> float:
    """Return the rows a second of COPY alone, reading and encoding included."""
    result, target = open_result(str(output), partial=False), PostgresqlTarget(address)
    piece, columns = result.pieces[0], result.columns()
    key = ("query_id", "doc_id")
    table = TargetTable(name="copied", columns=columns, key=key, mode="upsert")
    with target.connected():
        target.prepare(table)
        started = time.perf_counter()
        for part in piece.output.parts:
            target.stage(table, piece.iter_rows(part, columns))
        return result.num_rows / (time.perf_counter() - started)


def bars(groups: int, folder: Path) -> list[Bar]:
    output = make_output(folder / "out", groups, DOCUMENTS)
    small = make_output(folder / "small", groups // 10, DOCUMENTS)
    rows = groups * DOCUMENTS
    with postgresql() as server:
        copied = copied_per_s(output, server.address)
        load = [sys.executable, "-m", "jobs", "load"]
        to = ["--to", server.address, "--table"]
        took, _ = measured([*load, str(output), *to, "whole"], folder)
        tenth, _ = measured([*load, str(small), *to, "tenth"], folder)
    return [
        Bar("COPY: rows/s", copied, at_least=LEAST_ROWS_PER_S),
        Bar(
            "whole load, upsert and commit included: rows/s",
            rows / took.wall_s,
            at_least=LEAST_LOADED_PER_S,
        ),
        Bar("peak MB", took.peak_mb, at_most=MAX_MB),
        Bar("peak against a tenth of the rows", took.peak_mb / tenth.peak_mb, at_most=MAX_GROWTH),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = bars(options.groups, Path(name))
    print_bars(found, as_json=options.json)


if __name__ == "__main__":
    main()
