"""How much of one quota four processes use together, and what a killed one leaves to the others.

Four runs lease 100 requests a second, from `rerank quota serve` and then from Redis, for a service
that refuses with 429 what is over its limit by more than clock jitter: 5 % in a sliding second,
0.5 % in ten. One is killed midway. Run: python tests/benchmarks/bench_quota.py
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from aiohttp import web
from bench_pace import DOCUMENTS, LATENCY_S, Limit
from made_groups import Shape, make_dataset
from measuring_runs import ROOT, Bar

sys.path[:0] = [str(ROOT / "tests")]

from support.redis_server import redis_server  # noqa: E402

PROCESSES = 4
PER_S = 100
LEAST_USED = 0.97
SETTLE_S = 5.0
AFTER_KILL_S = 5.0


class Service:
    """A strict service: when it took requests, and how many it refused."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self.seen: set[str] = set()
        self.refused = 0
        self._limit = Limit(PER_S)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        now = time.monotonic()
        self.seen.add(request.path)
        if not self._limit.takes(now, 1):
            self.refused += 1
            return web.Response(status=429, body=orjson.dumps({"code": "Throttling.RateQuota"}))
        self.taken.append(now)
        await asyncio.sleep(LATENCY_S)
        scored = range(len(body["input"]["documents"]))
        results = [{"index": index, "relevance_score": 0.5} for index in scored]
        answer = {"output": {"results": results}, "usage": {"total_tokens": 2_000}}
        return web.Response(body=orjson.dumps(answer))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        runner = web.ServerRunner(web.Server(self.answer, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()

    def used(self, since: float, until: float) -> float:
        """Return the share of the quota that was used in this time."""
        return sum(since <= at < until for at in self.taken) / (until - since) / PER_S


async def started(*arguments: str, **how: int) -> asyncio.subprocess.Process:
    env = os.environ | {"PYTHONPATH": str(ROOT), "DASHSCOPE_API_KEY": "one-account"}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jobs", *arguments),
        cwd=ROOT,
        env=env,
        stderr=asyncio.subprocess.DEVNULL,
        **how,
    )


@asynccontextmanager
async def quota_server() -> AsyncIterator[str]:
    server = await started("quota", "serve", stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    yield (await server.stdout.readline()).decode().strip()
    server.terminate()
    await server.wait()


async def measure(folder: Path, quota: str, seconds: float) -> tuple[float, float, int]:
    """Return the share that four processes used, and three after a kill, and the refusals."""
    service = Service()
    async with service.running() as address:
        runs = [
            await started(
                *("run", str(folder / f"{number}.parquet"), str(folder / f"{quota[:4]}{number}")),
                *("--url", f"{address}/{number}", "--quota", quota, "--no-progress"),
                *("--requests-per-minute", str(60 * PER_S)),
            )
            for number in range(PROCESSES)
        ]
        while len(service.seen) < PROCESSES:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await asyncio.sleep(SETTLE_S)
        since = time.monotonic()
        await asyncio.sleep(seconds)
        killed, at = runs.pop(), time.monotonic()
        killed.send_signal(signal.SIGKILL)
        await killed.wait()
        await asyncio.sleep(AFTER_KILL_S + seconds)
        until = time.monotonic()
        for run in runs:
            run.terminate()
        for run in runs:
            await run.wait()
    return service.used(since, at), service.used(at + AFTER_KILL_S, until), service.refused


async def main(seconds: float) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder, bars = Path(name), []
        groups = round((2 * seconds + AFTER_KILL_S + SETTLE_S + 20) * PER_S)
        for number in range(PROCESSES):
            shape = Shape(documents=DOCUMENTS, characters=100)
            make_dataset(folder / f"{number}.parquet", groups // 2, shape, seed=number)
        async with quota_server() as address:
            figures = [("server", await measure(folder, address, seconds))]
        with redis_server(folder) as address:
            figures.append(("redis", await measure(folder, address, seconds)))
        for where, (used, after, refused) in figures:
            bars += [
                Bar(
                    f"{where}: share of the quota, {PROCESSES} processes", used, at_least=LEAST_USED
                ),
                Bar(f"{where}: share 5 s after a kill", after, at_least=LEAST_USED),
                Bar(f"{where}: refusals", refused, at_most=0),
            ]
    print("\n".join(bar.as_line() for bar in bars))
    return 0 if all(bar.passed for bar in bars) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    sys.exit(asyncio.run(main(parser.parse_args().seconds)))
