"""Preparing candidates by reference beside a bare Polars join; reading beside a bare pyarrow scan.

Each figure is taken in a process of its own, the job's and the bare one in turns; the better of
two counts.

    python tests/benchmarks/bench_prepare.py [--candidates 1000000] [--json]

The bars hold for 10,000,000 candidates from 2,000,000 texts of 300 characters.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))

from measuring_runs import ROOT, Bar

CANDIDATES_PER_TEXT, PER_QUERY, WORDS_PER_TEXT = 5, 100, 43
PIECE = 50_000


def make_dataset(folder: Path, candidates: int) -> None:
    """Write candidates by id, queries and a corpus; and long and nested candidates to read."""
    chance = np.random.default_rng(1)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(
        ["".join(chance.choice(letters, chance.integers(3, 10))) for _ in range(5_000)]
    )
    texts = candidates // CANDIDATES_PER_TEXT

    def corpus(start: int, stop: int) -> pa.Table:
        rows = words[chance.integers(0, len(words), (stop - start, WORDS_PER_TEXT))]
        ids = [f"doc-{number}" for number in range(start, stop)]
        return pa.table({"doc_id": ids, "text": [" ".join(row) for row in rows]})

    def ids(start: int, stop: int) -> pa.Table:
        return pa.table(
            {
                "query_id": [f"q{number // PER_QUERY}" for number in range(start, stop)],
                "doc_id": [f"doc-{number}" for number in chance.integers(0, texts, stop - start)],
                "first_stage_score": chance.random(stop - start),
            }
        )

    def queries(start: int, stop: int) -> pa.Table:
        numbers = range(start, stop)
        return pa.table(
            {
                "query_id": [f"q{number}" for number in numbers],
                "query": [f"where is word {number}" for number in numbers],
            }
        )

    write(folder / "corpus.parquet", corpus, texts)
    write(folder / "ids.parquet", ids, candidates)
    write(folder / "queries.parquet", queries, candidates // PER_QUERY)


def write(path: Path, make: Callable[[int, int], pa.Table], rows: int) -> None:
    """Write rows a piece at a time."""
    starts = range(0, rows, PIECE)
    pieces = (make(start, min(start + PIECE, rows)) for start in starts)
    first = next(pieces)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for piece in pieces:
            writer.write_table(piece)


def write_nested(folder: Path) -> None:
    """Write the prepared candidates as rows of queries."""
    with pq.ParquetFile(folder / "long.parquet") as long:
        writer = None
        for batch in long.iter_batches(PIECE):
            hits = pa.StructArray.from_arrays([batch["doc_id"], batch["text"]], ["doc_id", "text"])
            offsets = np.arange(0, batch.num_rows + 1, PER_QUERY, dtype=np.int32)
            first = pa.array(offsets[:-1])
            table = pa.table(
                {
                    "query_id": batch["query_id"].take(first),
                    "query": batch["query"].take(first),
                    "documents": pa.ListArray.from_arrays(pa.array(offsets), hits),
                }
            )
            writer = writer or pq.ParquetWriter(folder / "nested.parquet", table.schema)
            writer.write_table(table)
        assert writer is not None
        writer.close()


def polars_join(folder: Path) -> None:
    """Join as a user would by hand, in the candidates' order."""
    import polars as pl

    ids = pl.scan_parquet(folder / "ids.parquet")
    for name, key in (("queries", "query_id"), ("corpus", "doc_id")):
        texts = pl.scan_parquet(folder / f"{name}.parquet")
        ids = ids.join(texts, on=key, how="left", maintain_order="left")
    ids.sink_parquet(folder / "bare.parquet", engine="streaming")


def prepare(folder: Path) -> None:
    """Make the same with the job."""
    from pipeline.core.preparation import Preparation
    from pipeline.dataset.prepare import prepare_file

    preparation = Preparation(
        queries=str(folder / "queries.parquet"), corpus=str(folder / "corpus.parquet")
    )
    given, target = str(folder / "ids.parquet"), str(folder / "long.parquet")
    prepare_file(given, target, preparation, columns={})


def scan(folder: Path, name: str) -> None:
    """Read all columns of a file."""
    with pq.ParquetFile(folder / name) as parquet:
        for _ in parquet.iter_batches(use_threads=False):
            pass


def group(folder: Path, name: str) -> None:
    """Read and group a file with the job."""
    from pipeline.source.listing import list_input
    from pipeline.source.source import Source

    for _ in Source(list_input(str(folder / name))).iter_batches():
        pass


WORKS: dict[str, Callable[[Path], None]] = {
    "join": polars_join,
    "prepare": prepare,
    "scan long": lambda folder: scan(folder, "long.parquet"),
    "group long": lambda folder: group(folder, "long.parquet"),
    "scan nested": lambda folder: scan(folder, "nested.parquet"),
    "group nested": lambda folder: group(folder, "nested.parquet"),
}


def peak_mb() -> float:
    """Return the peak memory of this process; that of `getrusage` counts its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) / 1024


def in_process(work: str, folder: Path) -> dict[str, float]:
    """Do a work in a process of its own; return its seconds and its peak memory."""
    command = [sys.executable, __file__, "--work", work, "--folder", str(folder)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stderr[-2_000:])
    took: dict[str, float] = json.loads(ended.stdout)
    return took


def measure(candidates: int) -> dict[str, dict[str, float]]:
    """Return the figures of all works."""
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_dataset(folder, candidates)
        for works in (
            ("prepare", "join"),
            ("scan long", "group long", "scan nested", "group nested"),
        ):
            if "scan nested" in works:
                write_nested(folder)
            for _ in range(2):
                for work in works:
                    took = in_process(work, folder)
                    best = figures.setdefault(work, took)
                    best["seconds"] = min(best["seconds"], took["seconds"])
                    best["peak_mb"] = max(best["peak_mb"], took["peak_mb"])
    return figures


def main() -> int:
    """Measure, print the figures and the bars; 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", choices=WORKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        began = time.perf_counter()
        WORKS[options.work](options.folder)
        print(json.dumps({"seconds": time.perf_counter() - began, "peak_mb": peak_mb()}))
        return 0
    figures = measure(options.candidates)
    speed = {name: options.candidates / took["seconds"] for name, took in figures.items()}
    bars = [
        Bar("prepare, rows/s beside a bare join", speed["prepare"] / speed["join"], at_least=0.5),
        Bar("prepare, peak MB", figures["prepare"]["peak_mb"], at_most=2_000),
        Bar(
            "long, rows/s beside a bare scan",
            speed["group long"] / speed["scan long"],
            at_least=0.5,
        ),
        Bar("nested, the same", speed["group nested"] / speed["scan nested"], at_least=0.5),
    ]
    if options.json:
        facts = {"candidates": options.candidates, "figures": figures}
        print(json.dumps(facts | {"bars": [bar.as_json() for bar in bars]}))
    else:
        print(f"{options.candidates:,} candidates")
        for name, took in figures.items():
            print(f"{name:14}{speed[name]:12,.0f} rows/s{took['peak_mb']:8,.0f} MB")
        print(*(bar.as_line() for bar in bars), sep="\n")
    return 0 if all(bar.passed for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
