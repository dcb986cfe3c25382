"""A billion candidates a night, on paper: sizes of a small real run, times what a billion needs.

Queries and documents are those of the sample, drawn anew for each query; the service is the
emulator, whose scores have all their digits, so that files are as large as in earnest.

    python tests/benchmarks/bench_billion.py [--candidates 40000]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from pipeline.core.models import PROFILES  # noqa: E402

BILLION = 1_000_000_000
NIGHT_H = 8
SIZES = (100, 500)
"""Candidates of a query."""


@dataclass(frozen=True)
class PerCandidate:
    """What a candidate takes, measured: tokens, and bytes of the files on disk."""

    requests: float
    tokens: float
    part: float
    groups: float
    store: float


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=40_000)
    candidates = parser.parse_args().candidates
    columns = [(f"{size} candidates a query", measured(size, candidates)) for size in SIZES]
    rows = [("", *(name for name, _ in columns))]
    facts = [table(per) for _, per in columns]
    rows += [(name, *(column[name] for column in facts)) for name in facts[0]]
    for row in rows:
        print("| " + " | ".join(row) + " |")
        if row is rows[0]:
            print("|" + "---|" * len(row))


def table(per: PerCandidate) -> dict[str, str]:
    """Return the figures of a night, each from what one candidate takes."""
    model = PROFILES["qwen3-rerank"]
    requests, tokens = per.requests * BILLION, per.tokens * BILLION
    assert model.requests_per_minute is not None
    assert model.tokens_per_minute is not None
    hours = {
        "requests": requests / model.requests_per_minute / 60,
        "tokens": tokens / model.tokens_per_minute / 60,
    }
    binds = max(hours, key=lambda name: hours[name])
    needed = requests / (NIGHT_H * 60)
    stored = per.part + per.groups
    return {
        "tokens a candidate (measured)": f"{per.tokens:.0f}",
        "bytes a candidate: parts, `_groups`, store (measured)": (
            f"{per.part:.1f}, {per.groups:.2f}, {per.store:.1f}"
        ),
        "requests": f"{requests / 1e6:,.1f} million",
        "tokens": f"{tokens / 1e9:,.0f} billion",
        "cost": f"${tokens / 1e6 * model.usd_per_million_tokens:,.0f}",
        "hours by the quota of requests": f"{hours['requests']:.1f}",
        "hours by the quota of tokens": f"{hours['tokens']:.2f}",
        "what binds": f"{binds} a minute",
        f"requests a minute for {NIGHT_H} hours": f"{needed:,.0f}",
        "output": f"{stored * BILLION / 1e9:,.1f} GB",
        "score store, a night of new candidates": f"{per.store * BILLION / 1e9:,.1f} GB",
    }


def measured(size: int, candidates: int) -> PerCandidate:
    """Rerank so many candidates in groups of one size; return what each of them took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_candidates(folder / "in.parquet", size, candidates // size)
        command = [sys.executable, "-m", "jobs", "run", str(folder / "in.parquet")]
        quota = ("--requests-per-minute", "1e6", "--tokens-per-minute", "1e12")
        run = subprocess.run(
            [*command, str(folder / "out"), *quota, "--provider", "emulator", "--json"],
            cwd=ROOT, check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        facts = json.loads(run.stdout)
        rows = facts["candidates"]
        return PerCandidate(
            requests=facts["requests"] / rows,
            tokens=facts["total_tokens"] / rows,
            part=size_of(folder.glob("out/part-*")) / rows,
            groups=size_of(folder.glob("out/_groups/*")) / rows,
            store=size_of(folder.glob("out/_scores/**/*")) / rows,
        )


def write_candidates(path: Path, size: int, queries: int) -> None:
    """Write queries of the sample, each with documents of it, numbered so that all differ."""
    sample = pl.read_parquet(ROOT / "sample_data" / "candidates.parquet")
    texts = sample.filter(pl.col("text").str.strip_chars() != "")["text"].to_list()
    asked = sample["query"].unique().drop_nulls().to_list()
    dice = random.Random(7)
    rows: dict[str, list[str]] = {"query_id": [], "query": [], "doc_id": [], "text": []}
    for number in range(queries):
        documents = dice.sample(range(10**9), size)
        rows["query_id"] += [f"q{number:08d}"] * size
        rows["query"] += [asked[number % len(asked)]] * size
        rows["doc_id"] += [f"d{document:09d}" for document in documents]
        rows["text"] += [f"{dice.choice(texts)} {document}" for document in documents]
    pl.DataFrame(rows).write_parquet(path)


def size_of(files: Iterable[Path]) -> int:
    """Return the bytes of some files together."""
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    main()
