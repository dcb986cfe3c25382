"""Clients for tests: on a fake transport, or over HTTP against a fake service."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from support.fake_reranker import FakeReranker, Step
from support.fake_transport import FakeTransport

from pipeline.core.backoff import Backoff
from pipeline.core.content import Content
from pipeline.core.errors import RerankError
from pipeline.core.models import PROFILES
from pipeline.core.providers import PROVIDERS
from pipeline.core.records import Request, Scores
from pipeline.core.settings import DEFAULT_MAX_OUTAGE_S, Pace, RunSettings
from pipeline.service.client import RerankClient
from pipeline.service.connect import open_endpoint
from pipeline.service.cost_budget import CostBudget
from pipeline.service.endpoint import Endpoint, RetryPolicy
from pipeline.service.metrics import Metrics, QuotaUse
from pipeline.service.throttle.throttle import Throttle
from pipeline.service.transport import Timeouts

KEY = "sk-secret-of-the-test"
USD_PER_TOKEN = 0.1 / 1e6

NO_WAIT = Backoff(0.0, 0.0)
EXACT = RetryPolicy(backoff=Backoff(1.0, 20.0))
"""The default waits, without jitter."""


def request_of(*documents: Content, query: Content = "a query", number: int = 0) -> Request:
    """Return a request for these documents."""
    is_text = all(isinstance(content, str) for content in (query, *documents))
    return Request(
        query=query,
        documents=list(documents),
        tokens=30 * len(documents),
        key=number.to_bytes(24),
        scope=b"",
        query_id=f"q{number}",
        image_tokens=0 if is_text else 10 * len(documents),
    )


def a_request(number: int = 0, *, documents: int = 3, text: str = "some text") -> Request:
    """Return a request that differs from those of other numbers."""
    texts = (f"{text} {index}" for index in range(documents))
    return request_of(*texts, query=f"query {number}", number=number)


@dataclass
class Bench:
    """A client with its throttle and metrics."""

    client: RerankClient
    endpoint: Endpoint
    throttle: Throttle
    metrics: Metrics
    quota_use: QuotaUse


def client_on(
    transport: FakeTransport,
    *,
    pace: Pace | None = None,
    limit_usd: float | None = None,
    policy: RetryPolicy = EXACT,
) -> Bench:
    """Return a client on a fake transport, for the virtual clock, where waits take no time."""
    metrics, quota_use = Metrics(), QuotaUse()
    throttle = Throttle(pace or Pace(), quota_use)
    budget = CostBudget(limit_usd, USD_PER_TOKEN)
    endpoint = Endpoint(transport, throttle=throttle, budget=budget, policy=policy)
    client = RerankClient(endpoint, metrics=metrics)
    return Bench(client, endpoint, throttle, metrics, quota_use)


@dataclass
class HttpBench(Bench):
    """A client with the fake service that it calls."""

    fake: FakeReranker

    @property
    def num_calls(self) -> int:
        return len(self.fake.calls)


@asynccontextmanager
async def http_bench(
    *script: Step,
    pace: Pace | None = None,
    total_timeout_s: float = 5.0,
    latency_s: float = 0.0,
    url: str | None = None,
    **more: Any,
) -> AsyncIterator[HttpBench]:
    """Yield a client that calls a fake service over HTTP and retries without waiting."""
    async with FakeReranker(*script, latency_s=latency_s) as fake:
        metrics, quota_use = Metrics(), QuotaUse()
        settings = RunSettings(
            provider=PROVIDERS["dashscope"],
            profile=PROFILES["qwen3-rerank"],
            url=url or fake.url,
            pace=pace or Pace(),
            **more,
        )
        throttle = Throttle(settings.pace, quota_use)
        async with open_endpoint(
            settings,
            KEY,
            throttle,
            CostBudget(settings.max_cost_usd, settings.profile.usd_per_token),
            policy=RetryPolicy(
                max_attempts=settings.max_attempts,
                max_outage_s=settings.max_outage_s or DEFAULT_MAX_OUTAGE_S,
                max_unreached_s=None,
                backoff=NO_WAIT,
                probe_backoff=NO_WAIT,
                patience_s=0.0,
            ),
            timeouts=Timeouts(total_s=total_timeout_s),
        ) as endpoint:
            client = RerankClient(endpoint, metrics=metrics)
            yield HttpBench(client, endpoint, throttle, metrics, quota_use, fake)


async def outcomes(calls: Iterable[Awaitable[Scores]]) -> list[Scores | RerankError]:
    """Await all calls at once; return the scores or the error of each, in their order."""

    async def outcome(call: Awaitable[Scores]) -> Scores | RerankError:
        try:
            return await call
        except RerankError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(outcome(call)) for call in calls]
    return [task.result() for task in tasks]


async def score_all(
    client: RerankClient, count: int, *, documents: int = 3
) -> list[Scores | RerankError]:
    """Score `count` requests at once; return the scores or the error of each."""
    return await outcomes(
        client.score(a_request(number, documents=documents)) for number in range(count)
    )
