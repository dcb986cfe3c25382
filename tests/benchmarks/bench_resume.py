"""What it takes to run again: over a finished output, over half of one, after one small change.

The first run and all others are real processes against an nginx stub on loopback; a run that must
send nothing is given an address where nobody listens, so that a request would fail it.

    python tests/benchmarks/bench_resume.py [--groups 100000] [--json]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))

from measuring_runs import ROOT
from nginx_stub import nginx_stub

DOCUMENTS, CHARACTERS = 5, 40
CHANGED_GROUPS = 1_000
NOBODY = "http://127.0.0.1:9/rerank"


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


def run(source: Path, output: Path, url: str, *more: str) -> dict[str, Any]:
    """One run to its end: its own figures, and the process's."""
    command = [
        *(sys.executable, "-m", "jobs", "run", str(source), str(output), "--url", url, "--json"),
        *("--requests-per-minute", "10000000", "--tokens-per-minute", "1e12", "--no-progress"),
        *more,
    ]
    began = time.monotonic()
    environment = {**os.environ, "DASHSCOPE_API_KEY": "sk-bench"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"run failed with {process.returncode}: {err.decode()[-2_000:]}")
    facts = json.loads(out)
    return {
        "seconds": time.monotonic() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "requests": facts["requests"],
        "reused": facts["requests_reused"],
        "parts": facts["parts_done"],
    }


def measure(groups: int) -> dict[str, dict[str, Any]]:
    """All cases, by name."""
    figures: dict[str, dict[str, Any]] = {}
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
            for part in parts[len(parts) // 2 :]:
                part.unlink()
            figures["half of the parts gone"] = run(source, output, NOBODY)

            changed = folder / "changed.parquet"
            few = pq.read_table(source).slice(0, min(groups, CHANGED_GROUPS) * DOCUMENTS)
            pq.write_table(few, folder / "few.parquet")
            texts = few["text"].to_pylist()
            texts[len(texts) // 2] += "!"
            at = few.schema.get_field_index("text")
            pq.write_table(few.set_column(at, "text", pa.array(texts)), changed)
            store = ("--score-store", str(folder / "scores"))
            run(folder / "few.parquet", folder / "one", url, *store)
            figures["one text changed"] = run(changed, folder / "two", url, *store)
    return figures


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.groups)
    if options.json:
        print(json.dumps({"groups": options.groups, **figures}))
        return
    print(f"{options.groups:,} groups of {DOCUMENTS} documents")
    print(f"{'':24}{'wall s':>8}{'CPU s':>8}{'MB':>6}{'requests':>10}{'reused':>9}{'parts':>7}")
    for name, took in figures.items():
        seconds = f"{took['seconds']:8.1f}{took['cpu_s']:8.1f}{took['peak_mb']:6.0f}"
        counts = f"{took['requests']:10,}{took['reused']:9,}{took['parts']:7,}"
        print(f"{name:24}{seconds}{counts}")


if __name__ == "__main__":
    main()
