"""How much of a true quota is used, and what it costs, against a service that holds the limit.

The service runs in a process of its own and refuses with 429 what goes over its limit by more than
clock jitter: 5 % in a sliding second, 0.5 % in ten. The last rows count the refusals of a service
that takes smaller requests than its page says. Run: python tests/benchmarks/bench_pace.py
"""

import argparse
import asyncio
import contextlib
import itertools
import logging
import random
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiohttp import web

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.group_world import (  # noqa: E402
    FakeService,
    make_group,
    make_planner,
    plan_like_a_run,
)

from pipeline.core.errors import RerankError  # noqa: E402
from pipeline.core.models import PROFILES  # noqa: E402
from pipeline.core.providers import PROVIDERS  # noqa: E402
from pipeline.core.records import Request, Scores  # noqa: E402
from pipeline.core.settings import Pace, RunSettings  # noqa: E402
from pipeline.ranking.refused_sizes import RefusedSizes  # noqa: E402
from pipeline.ranking.rerank_group import rerank_group  # noqa: E402
from pipeline.service.client import RerankClient  # noqa: E402
from pipeline.service.connect import open_endpoint  # noqa: E402
from pipeline.service.cost_budget import CostBudget  # noqa: E402
from pipeline.service.metrics import Metrics, QuotaUse  # noqa: E402
from pipeline.service.throttle.throttle import Throttle  # noqa: E402

TRUE_PER_S = 100
DOCUMENTS = 20
TOKENS_EACH = 100
LATENCY_S = 0.05


class Limit:
    """A true limit in units a second, held over sliding windows of 1 and 10 seconds."""

    def __init__(self, per_s: float) -> None:
        self._windows = [(1.0, 1.05 * per_s), (10.0, 1.005 * 10 * per_s)]
        self._taken: list[deque[tuple[float, float]]] = [deque(), deque()]

    def takes(self, now: float, amount: float) -> bool:
        for (period_s, _), taken in zip(self._windows, self._taken, strict=True):
            while taken and taken[0][0] <= now - period_s:
                taken.popleft()
        fits = all(
            sum(one for _, one in taken) + amount <= limit
            for (_, limit), taken in zip(self._windows, self._taken, strict=True)
        )
        if fits:
            for taken in self._taken:
                taken.append((now, amount))
        return fits


class Growth:
    """Each second takes at most twice what the one before took, but always a few."""

    def __init__(self, first: float) -> None:
        self._first = first
        self._taken: dict[int, float] = {}

    def takes(self, now: float) -> bool:
        second = int(now)
        taken = self._taken.get(second, 0) + 1
        if taken > max(2 * self._taken.get(second - 1, 0), self._first):
            return False
        self._taken[second] = taken
        return True


async def serve(case: "Case") -> None:
    """Answer until the parent goes; the first line on stdout is the address."""
    requests, tokens = Limit(case.true_per_s), Limit(case.true_tokens_per_s)
    growth = Growth(FIRST_SECOND if case.limits_growth else float("inf"))
    results = [{"index": index, "relevance_score": 0.5} for index in range(DOCUMENTS)]

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        now = asyncio.get_running_loop().time()
        used = sum(counted(text) for text in body["input"]["documents"])
        refused_by = None
        if not requests.takes(now, 1):
            refused_by = "Throttling.RateQuota"
        elif not tokens.takes(now, used):
            refused_by = "Throttling.AllocationQuota"
        elif not growth.takes(now):
            refused_by = "Throttling.BurstRate"
        await asyncio.sleep(case.latency_s)
        if refused_by:
            return web.Response(status=429, body=orjson.dumps({"code": refused_by, "message": ""}))
        answer = {"output": {"results": results}, "usage": {"total_tokens": used}}
        return web.Response(body=orjson.dumps(answer))

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/", flush=True)
    await asyncio.to_thread(sys.stdin.read)


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    told_per_minute: float
    tokens_per_minute: float | None
    bar: float
    max_429: float
    true_per_s: float = TRUE_PER_S
    true_tokens_per_s: float = 1e12
    latency_s: float = LATENCY_S
    kinds: tuple[str, ...] = ("x" * TOKENS_EACH,)
    limits_growth: bool = False
    settle_s: float = 0.0
    """Seconds at the start that are not measured."""


FIRST_SECOND = 5
ENGLISH = "The pace of a job is bound by what its service grants. " * 4
DIGITS = "31415926535 8979323846 2643383279 " * 4
CHINESE = "这个任务的速度取决于服务允许的配额。" * 6
SHARES = {ENGLISH[:3]: 0.22, DIGITS[:3]: 1.0, CHINESE[:3]: 0.62}
"""Tokens that are counted of the characters of a text, by how it begins; of others, all."""


def counted(text: str) -> int:
    """Return the tokens that the service counts of a text."""
    return round(SHARES.get(text[:3], 1.0) * len(text))


TRUE_TOKENS_PER_S = 50 * DOCUMENTS * TOKENS_EACH
CASES = (
    Case("requests told exactly", 60 * TRUE_PER_S, None, 0.98, 0),
    Case("requests told twice too high", 120 * TRUE_PER_S, None, 0.90, float("inf")),
    Case(
        "tokens binding, told exactly",
        60 * TRUE_PER_S,
        60 * TRUE_TOKENS_PER_S,
        0.97,
        0,
        true_tokens_per_s=TRUE_TOKENS_PER_S,
    ),
    Case(
        "tokens told twice too high",
        60 * TRUE_PER_S,
        120 * TRUE_TOKENS_PER_S,
        0.90,
        float("inf"),
        true_tokens_per_s=TRUE_TOKENS_PER_S,
    ),
    *(
        Case(
            f"mixture of kinds, {latency_s} s",
            60 * TRUE_PER_S,
            60 * TRUE_TOKENS_PER_S,
            0.95,
            0,
            true_tokens_per_s=TRUE_TOKENS_PER_S,
            latency_s=latency_s,
            kinds=(ENGLISH, DIGITS, CHINESE),
            settle_s=6 * latency_s,
        )
        for latency_s in (0.3, 1.5)
    ),
    Case(
        "growth limited to twice",
        60 * TRUE_PER_S,
        None,
        0.90,
        float("inf"),
        limits_growth=True,
        settle_s=12,
    ),
    Case("requests told 90 times too high", 90 * 60, None, 0.75, 20, true_per_s=1.0),
)


async def measure(case: Case, seconds: float) -> dict[str, object]:
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--serve", str(CASES.index(case))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        url = (await server.stdout.readline()).decode().strip()
        return await load(case, url, seconds + case.settle_s)
    finally:
        server.stdin.close()
        await server.wait()


async def load(case: Case, url: str, seconds: float) -> dict[str, object]:
    in_flight = max(64, int(3 * case.true_per_s * case.latency_s))
    pace = Pace(
        requests_per_minute=case.told_per_minute,
        tokens_per_minute=case.tokens_per_minute,
        max_in_flight=in_flight,
    )
    settings = RunSettings(
        provider=PROVIDERS["dashscope"], profile=PROFILES["qwen3-rerank"], url=url, pace=pace
    )
    metrics, quota_use = Metrics(), QuotaUse()
    throttle = Throttle(pace, quota_use)
    work, lost = _requests(case), 0
    clock = asyncio.get_running_loop().time
    began_at = clock()
    units = 0  # tokens or requests that were sent in the measured time

    async def worker() -> None:
        nonlocal lost, units
        while clock() < began_at + seconds:
            try:
                scores = await client.score(next(work))
            except RerankError:
                lost += 1
                continue
            sent_s = clock() - case.latency_s - began_at
            if case.settle_s <= sent_s < seconds:
                units += (scores.total_tokens or 0) if case.tokens_per_minute else 1

    async with open_endpoint(settings, "key", throttle, CostBudget(None, 0.0)) as endpoint:
        client = RerankClient(endpoint, metrics=metrics)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(2 * in_flight, 2 + int(6 * case.true_per_s))):
                tasks.create_task(worker())
    true = case.true_tokens_per_s if case.tokens_per_minute else case.true_per_s
    used = units / (seconds - case.settle_s) / true
    return {
        "case": case.name,
        "used": round(used, 4),
        "bar": case.bar,
        "seconds": round(quota_use.admitted_s, 1),
        "answered": metrics.answered,
        "lost": lost,
        "throttled": metrics.throttled,
        "bound_by": quota_use.bound_by,
        "passed": used >= case.bar and not lost and metrics.throttled <= case.max_429,
    }


def _requests(case: Case) -> Iterator[Request]:
    order = random.Random(1)
    for number in itertools.count():
        text = order.choice(case.kinds)
        yield Request(
            query="q",
            documents=[text] * DOCUMENTS,
            tokens=int(1.2 * DOCUMENTS * len(text)),  # an upper bound, as in the job
            key=number.to_bytes(24),
            scope=b"",
            query_id=number,
        )


GROUPS, GROUPS_AT_ONCE, MAX_REFUSED = 600, 16, 100
SMALLER_LIMITS: dict[str, dict[str, float]] = {
    "30,000 tokens for 120,000": {"max_tokens": 30_000},
    "60 documents for 500": {"max_documents": 60},
    "80,000 bytes for 16 MiB": {"max_bytes": 80_000},
}


async def count_refused(name: str) -> dict[str, object]:
    """Rank groups at a service with smaller limits than it says; count what it refuses."""
    service, planner = FakeService(**SMALLER_LIMITS[name]), make_planner(max_documents=500)
    memory, order, numbers = RefusedSizes(), random.Random(1), iter(range(GROUPS))

    async def ask(request: Request) -> Scores:
        await asyncio.sleep(LATENCY_S)
        return await service.ask(request)

    async def worker() -> None:
        for number in numbers:
            texts = [f"{number} {place} " + ENGLISH * order.randint(6, 8) for place in range(100)]
            plan = plan_like_a_run(planner, make_group(texts))
            await rerank_group(plan, ask, planner, memory)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(GROUPS_AT_ONCE):
            tasks.create_task(worker())
    return {
        "case": name,
        "groups": GROUPS,
        "refused": service.refused,
        "bar": MAX_REFUSED,
        "passed": service.refused <= MAX_REFUSED,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--serve", type=int)
    options = parser.parse_args()
    if options.serve is not None:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(CASES[options.serve]))
        return
    logging.basicConfig(level=logging.ERROR)
    cases = [case for case in CASES if options.only in case.name]
    rows = [asyncio.run(measure(case, options.seconds)) for case in cases]
    limits = [name for name in SMALLER_LIMITS if options.only in name]
    refusals = [asyncio.run(count_refused(name)) for name in limits]
    if options.json:
        print(orjson.dumps({"schema_version": 1, "cases": rows, "refusals": refusals}).decode())
    else:
        for row in refusals:
            print(
                f"{row['case']:30} refused {row['refused']} for {row['groups']} groups"
                f" (bar {row['bar']})  {'ok' if row['passed'] else 'FAILED'}"
            )
        for row in rows:
            print(
                f"{row['case']:30} used {row['used']:.1%} (bar {row['bar']:.0%}) lost {row['lost']}"
                f" throttled {row['throttled']} in {row['seconds']} s, bound by {row['bound_by']}"
                f"  {'ok' if row['passed'] else 'FAILED'}"
            )
    sys.exit(not all(row["passed"] for row in (*rows, *refusals)))


if __name__ == "__main__":
    main()
