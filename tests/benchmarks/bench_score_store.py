"""What the score store costs: CPU and bytes per saved request, time and memory of look-ups.

Run as `python tests/benchmarks/bench_score_store.py [--json] [--requests N] [--folder DIR]`.
"""

import argparse
import asyncio
import gc
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from pipeline.core.records import Request, Scores
from pipeline.score_store.maintenance import info
from pipeline.score_store.store import ScoreStore
from pipeline.storage.location import locate

NUM_BATCHES = 200
RESPONSE_ID = "0f4c1d2e-3b6a-4a59-9c8d-7e6f5a4b3c2d"


def request(number: int, documents: int) -> Request:
    key, scope = random.Random(number).randbytes(24), random.Random(-number).randbytes(24)
    return Request(f"query {number} of some words", [""] * documents, 0, key, scope, number)


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def save(folder: Path, per_batch: int, *, other_work: bool) -> dict[str, float]:
    """CPU and bytes of requests of 100 documents that are written `per_batch` at a time.

    The writer waits 20 ms for further answers, so 20 in a batch are 1,000 in a second. With
    `other_work` between the batches, as in a job that does little else, the caches are cold.
    """
    total = NUM_BATCHES * per_batch
    requests = [request(number, 100) for number in range(total)]
    dice = np.random.default_rng(1)
    scores = [Scores(dice.random(100), 12_345, RESPONSE_ID) for _ in range(total)]
    body = orjson.dumps({"results": [{"index": n, "score": n / 7} for n in range(100)]})
    times = []
    async with ScoreStore(locate(str(folder))) as store:
        for first in range(0, total, per_batch):
            for _ in range(500 if other_work else 0):
                orjson.loads(body)
            cpu = time.process_time()
            for number in range(first, first + per_batch):
                await store.save(requests[number], scores[number])
            await store.flush()
            times.append(time.process_time() - cpu)
    size = info(locate(str(folder))).size_bytes
    return {"cpu_us": float(np.median(times)) / per_batch * 1e6, "bytes": size / total}


async def build(folder: Path, total: int) -> dict[str, float]:
    began, cpu = time.perf_counter(), time.process_time()
    scores = Scores(np.linspace(0.1, 0.9, 5), 1_234, RESPONSE_ID)
    async with ScoreStore(locate(str(folder))) as store:
        for number in range(total):
            await store.save(request(number, 5), scores)
        built = time.perf_counter()
        await store.compact()
        compacted = time.perf_counter()
    return {
        "build_s": built - began,
        "compact_s": compacted - built,
        "cpu_s": time.process_time() - cpu,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "bytes": info(locate(str(folder))).size_bytes,
        "segments": info(locate(str(folder))).segments,
    }


async def look_up(folder: Path, total: int) -> dict[str, float]:
    gc.collect()
    before, began = rss_mb(), time.perf_counter()
    async with ScoreStore(locate(str(folder))) as store:
        opened = time.perf_counter() - began
        gc.collect()
        figures = {"open_s": opened, "index_mb": rss_mb() - before}
        dice = random.Random(1)
        start = dice.randrange(total - 100_000)
        patterns: dict[str, list[Sequence[int]]] = {
            "adjacent": [range(start + 1000 * n, start + 1000 * n + 1000) for n in range(20)],
            "random": [[dice.randrange(total) for _ in range(1000)] for _ in range(20)],
            "absent": [range(total + 1000 * n, total + 1000 * n + 1000) for n in range(20)],
        }
        for name, rounds in patterns.items():
            times = []
            for numbers in rounds:
                keys = [request(number, 0).key for number in numbers]
                began = time.perf_counter()
                found = await store.look_up(keys)
                times.append(time.perf_counter() - began)
                assert len(found) == (0 if name == "absent" else len(set(keys)))
            figures[f"{name}_ms"] = 1e3 * float(np.median(times))
        figures["rss_growth_mb"] = rss_mb() - before
    return figures


def in_a_process(step: str, folder: Path, total: int) -> dict[str, float]:
    """Run a step in a fresh process, so that no step sees another's memory; return its figures."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    output = subprocess.run(
        [*command, "--requests", str(total)], check=True, stdout=subprocess.PIPE
    )
    figures: dict[str, float] = json.loads(output.stdout)
    return figures


def measure(step: str, folder: Path, total: int) -> dict[str, float]:
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        tempfile.TemporaryDirectory() as fresh,
    ):
        if step == "build":
            return runner.run(build(folder, total))
        if step == "look_up":
            return runner.run(look_up(folder, total))
        kind, per_batch = step.removeprefix("save_").split("_")
        return runner.run(save(Path(fresh), int(per_batch), other_work=kind == "cold"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--step")
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measure(options.step, options.folder, options.requests)))
        return
    saves = [f"save_{kind}_{size}" for kind in ("warm", "cold") for size in (100, 20, 4, 1)]
    steps = [*saves, "build", "look_up"]
    with tempfile.TemporaryDirectory() as fresh:
        folder = (options.folder or Path(fresh)) / "store"
        figures = {step: in_a_process(step, folder, options.requests) for step in steps}
    if options.json:
        print(json.dumps({"schema_version": 1, "benchmark": "score_store", "figures": figures}))
        return
    for step, values in figures.items():
        for name, value in values.items():
            print(f"{step:14} {name:14} {value:14,.1f}")


if __name__ == "__main__":
    main()
