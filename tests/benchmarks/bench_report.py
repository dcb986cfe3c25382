"""Seconds, size and peak memory of `rerank report`, on an output of its own.

    python tests/benchmarks/bench_report.py [--groups 100000] [--json]

By default the output has ten million candidates; memory must be as for a tenth of them. A page is
made with judgements of 1,000 queries and one without.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import pyarrow.parquet as pq
from made_output import make_output
from measuring_runs import Bar, measured, print_bars

DOCUMENTS = 100
JUDGED = 1_000
MAX_S, MAX_BYTES = 60.0, 5e6
MAX_MB, MAX_GROWTH = 400.0, 1.15


def judge(output: Path, file: Path) -> Path:
    """Judge three documents of each of the first queries."""
    rows = pq.read_table(output / "part-00000.parquet", columns=["query_id", "doc_id", "rank"])
    wanted = rows.slice(0, JUDGED * DOCUMENTS).to_pylist()
    lines = [f"{r['query_id']} 0 {r['doc_id']} 1\n" for r in wanted if r["rank"] in (2, 5, 30)]
    file.write_text("".join(lines))
    return file


def bars(case: str, options: list[str], output: Path, small: Path, folder: Path) -> list[Bar]:
    """Report on the whole output and on a tenth of it."""
    command, page = [sys.executable, "-m", "jobs", "report"], folder / "page.html"
    took, _ = measured([*command, str(output), "-o", str(page), *options], folder)
    tenth, _ = measured([*command, str(small), "-o", str(page), *options], folder)
    return [
        Bar(f"{case}: seconds", took.wall_s, at_most=MAX_S),
        Bar(f"{case}: bytes", page.stat().st_size, at_most=MAX_BYTES),
        Bar(f"{case}: peak MB", took.peak_mb, at_most=MAX_MB),
        Bar(
            f"{case}: peak against a tenth of the candidates",
            took.peak_mb / tenth.peak_mb,
            at_most=MAX_GROWTH,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output = make_output(folder / "out", options.groups, DOCUMENTS)
        small = make_output(folder / "small", options.groups // 10, DOCUMENTS)
        qrels = judge(small, folder / "qrels.txt")
        found = bars("without judgements", [], output, small, folder)
        found += bars("with judgements", ["--qrels", str(qrels)], output, small, folder)
    print_bars(found, as_json=options.json)


if __name__ == "__main__":
    main()
