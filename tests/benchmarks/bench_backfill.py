"""How much of a quota a backfill uses, from its first request to its last.

Thirty partitions of 200 groups against a service of its own process, which refuses with 429 what
goes over its limit by more than clock jitter.

    python tests/benchmarks/bench_backfill.py [--partitions 30] [--latency-ms 200] [--json]
"""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections import deque
from pathlib import Path

import orjson
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parents[2]))

from made_groups import Shape, make_dataset
from measuring_runs import Bar, measured, print_bars

PER_S = 90
GROUPS = 200
SHAPE = Shape(documents=20, characters=100)
LEAST_USED = 0.97
MAX_MB = 300.0


async def serve(latency_s: float) -> None:
    """Answer until the parent goes; the first line on stdout is the address."""
    taken: deque[float] = deque()
    counts = {"answered": 0, "refused": 0, "first": 0.0, "last": 0.0}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        if request.method == "GET":
            return web.json_response(counts)
        body = orjson.loads(await request.read())
        while taken and taken[0] <= now - 1:
            taken.popleft()
        if len(taken) + 1 > 1.05 * PER_S:
            counts["refused"] += 1
            return web.json_response({"code": "Throttling.RateQuota", "message": ""}, status=429)
        taken.append(now)
        counts["answered"] += 1
        counts["first"], counts["last"] = counts["first"] or now, now
        await asyncio.sleep(latency_s)
        documents = len(body["input"]["documents"])
        results = [{"index": index, "relevance_score": 0.5} for index in range(documents)]
        return web.json_response(
            {"output": {"results": results}, "usage": {"total_tokens": 100}, "request_id": "r"}
        )

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/", flush=True)
    await asyncio.to_thread(sys.stdin.read)


def measure(partitions: int, latency_ms: float, folder: Path) -> list[Bar]:
    lake = folder / "lake"
    for number in range(partitions):
        place = lake / f"dt={number}"
        place.mkdir(parents=True)
        make_dataset(place / "part.parquet", GROUPS, SHAPE, seed=number)
    with subprocess.Popen(
        [sys.executable, __file__, "--serve", "--latency-ms", str(latency_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        url = server.stdout.readline().strip()
        command = [sys.executable, "-m", "jobs", "backfill", str(lake), str(folder / "out")]
        command += [
            "--max-in-flight",
            "512",
            "--from",
            "0",
            "--to",
            str(partitions),
            "--url",
            url,
            "--no-progress",
        ]
        took, _ = measured([*command, "--requests-per-minute", str(60 * PER_S)], folder)
        with urllib.request.urlopen(url) as response:
            counts = json.load(response)
        server.stdin.close()
    used = (counts["answered"] - 1) / (counts["last"] - counts["first"]) / PER_S
    return [
        Bar("requests answered", counts["answered"], at_least=partitions * GROUPS),
        Bar("share of the quota", used, at_least=LEAST_USED),
        Bar("answers of 429", counts["refused"], at_most=0),
        Bar("peak MB", took.peak_mb, at_most=MAX_MB),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=30)
    parser.add_argument("--latency-ms", type=float, default=200)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if options.serve:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(options.latency_ms / 1_000))
        return
    with tempfile.TemporaryDirectory() as name:
        bars = measure(options.partitions, options.latency_ms, Path(name))
    print_bars(bars, as_json=options.json)


if __name__ == "__main__":
    main()
