"""What it takes to run again: over a finished output, a killed one, after one small change.

The first run and all others are real processes against an nginx stub on loopback; a run that must
send nothing is given an address where nobody listens, so that a request would fail it.

    python tests/benchmarks/bench_resume.py [--groups 100000] [--json]
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))

from measuring_runs import Bar, JobRun, job_command, measured_job
from nginx_stub import nginx_stub

DOCUMENTS, CHARACTERS = 5, 40
CHANGED_GROUPS = 1_000
NOBODY = "http://127.0.0.1:9/rerank"

FINISHED = ("finished", "finished, no _SUCCESS", "the last part gone")
HALF = "half of the parts gone"
CHANGED = "one text changed"
MAX_FINISHED_S = 3.0
"""For 100,000 groups, whose rows are not decoded again."""
MAX_STORED_CPU_MS = 0.15
"""For a group whose answer is stored, and whose part must be written."""


def make_dataset(path: Path, groups: int) -> None:
    """Write groups of five short texts, every text of its own; rows of a query adjacent."""
    rows = groups * DOCUMENTS
    group = np.repeat(np.arange(groups), DOCUMENTS)
    numbers = pa.array(np.arange(rows)).cast(pa.string())
    group_numbers = pa.array(group).cast(pa.string())
    text = pc.binary_join_element_wise("river bank tent stove camp trail map", numbers, " ")
    table = pa.table(
        {
            "query_id": pc.binary_join_element_wise("q", group_numbers, ""),
            "query": pc.binary_join_element_wise("where to camp", group_numbers, " "),
            "doc_id": pc.binary_join_element_wise("d", numbers, ""),
            "text": pc.utf8_slice_codeunits(text, 0, CHARACTERS + 10),
        }
    )
    pq.write_table(table, path, compression="zstd", row_group_size=100_000)


def run(source: Path, output: Path, url: str, *more: str) -> JobRun:
    """Run the job to its end."""
    return measured_job([*job_command(source, output, url), *more], output.parent)


def measure(groups: int) -> dict[str, JobRun]:
    """Return all runs, by name."""
    figures: dict[str, JobRun] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, output = folder / "candidates.parquet", folder / "out"
        make_dataset(source, groups)
        with nginx_stub(folder, DOCUMENTS) as url:
            figures["first run"] = run(source, output, url)
            figures["finished"] = run(source, output, NOBODY)
            (output / "_SUCCESS").unlink()
            figures["finished, no _SUCCESS"] = run(source, output, NOBODY)
            parts = sorted(output.glob("part-*.parquet"))
            (output / "_SUCCESS").unlink()
            parts[-1].unlink()
            figures["the last part gone"] = run(source, output, NOBODY)
            for part in parts[len(parts) // 2 :]:
                part.unlink()
            figures[HALF] = run(source, output, NOBODY)

            changed = folder / "changed.parquet"
            few = pq.read_table(source).slice(0, min(groups, CHANGED_GROUPS) * DOCUMENTS)
            pq.write_table(few, folder / "few.parquet")
            texts = few["text"].to_pylist()
            texts[len(texts) // 2] += "!"
            at = few.schema.get_field_index("text")
            pq.write_table(few.set_column(at, "text", pa.array(texts)), changed)
            store = ("--score-store", str(folder / "scores"))
            run(folder / "few.parquet", folder / "one", url, *store)
            figures[CHANGED] = run(changed, folder / "two", url, *store)
    return figures


def bars(figures: dict[str, JobRun]) -> list[Bar]:
    """Return the bars."""
    half = figures[HALF]
    stored_ms = 1e3 * half.took.cpu_s / half.facts["requests_reused"]
    none = [name for name in figures if name in (*FINISHED, HALF)]
    return [
        *(
            Bar(f"{name}: s", figures[name].took.wall_s, at_most=MAX_FINISHED_S)
            for name in FINISHED
        ),
        *(Bar(f"{name}: requests", figures[name].facts["requests"], at_most=0) for name in none),
        Bar(f"{HALF}: CPU ms a group", stored_ms, at_most=MAX_STORED_CPU_MS),
        Bar(f"{CHANGED}: requests", figures[CHANGED].facts["requests"], at_most=1),
    ]


def main() -> None:
    """Measure, and print a table or JSON; exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.groups)
    judged = bars(figures)
    passed = all(bar.passed for bar in judged)
    if options.json:
        facts = {"schema_version": 1, "passed": passed, "groups": options.groups}
        print(json.dumps({**facts, "bars": [bar.as_json() for bar in judged]}))
        sys.exit(not passed)
    print(f"{options.groups:,} groups of {DOCUMENTS} documents")
    print(f"{'':24}{'wall s':>8}{'CPU s':>8}{'MB':>6}{'requests':>10}{'reused':>9}{'parts':>7}")
    for name, one in figures.items():
        took, facts = one.took, one.facts
        seconds = f"{took.wall_s:8.1f}{took.cpu_s:8.1f}{took.peak_mb:6.0f}"
        counts = f"{facts['requests']:10,}{facts['requests_reused']:9,}{facts['parts_done']:7,}"
        print(f"{name:24}{seconds}{counts}")
    print("\n".join(bar.as_line() for bar in judged))
    sys.exit(not passed)


if __name__ == "__main__":
    main()
