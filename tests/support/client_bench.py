"""A client, the fake service that it asks, and what happened."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from support.fake_reranker import FakeReranker, Step

from pipeline.core.models import PROFILES
from pipeline.core.providers import PROVIDERS
from pipeline.core.records import Request
from pipeline.core.settings import Pace, RunSettings
from pipeline.service.client import RerankClient
from pipeline.service.metrics import Metrics
from pipeline.service.throttle.throttle import Throttle

KEY = "sk-secret-of-the-test"


def a_request(number: int = 0, *, documents: int = 3, text: str = "some text") -> Request:
    return Request(
        query=f"query {number}",
        documents=[f"{text} {index}" for index in range(documents)],
        tokens=30 * documents,
        key=number.to_bytes(16),
        document_keys=np.zeros(documents, np.uint64),
        query_id=f"q{number}",
    )


@dataclass
class Bench:
    """A client, the service that it asks, and what happened."""

    fake: FakeReranker
    client: RerankClient
    throttle: Throttle
    counters: Metrics
    slept: list[float] = field(default_factory=list)

    @property
    def num_calls(self) -> int:
        return len(self.fake.calls)


@asynccontextmanager
async def bench(
    *script: Step,
    pace: Pace | None = None,
    sleep: bool = True,
    total_timeout_s: float = 5.0,
    latency_s: float = 0.0,
    url: str | None = None,
    **more: Any,
) -> AsyncIterator[Bench]:
    """A client whose back-off waits are written down and take no time (unless `sleep` is False)."""
    slept: list[float] = []

    async def sleep_for_no_time(wait_s: float) -> None:
        slept.append(wait_s)
        await asyncio.sleep(0)

    async with FakeReranker(*script, latency_s=latency_s) as fake:
        counters = Metrics()
        settings = RunSettings(
            provider=PROVIDERS["dashscope"],
            profile=PROFILES["qwen3-rerank"],
            url=url or fake.url,
            pace=pace or Pace(),
            **more,
        )
        throttle = Throttle(settings.pace, counters)
        async with RerankClient(
            settings,
            KEY,
            throttle,
            counters,
            sleep=sleep_for_no_time if sleep else None,
            uniform=lambda: 1.0,
            total_timeout_s=total_timeout_s,
        ) as client:
            yield Bench(fake, client, throttle, counters, slept)


async def until(condition: Callable[[], object]) -> None:
    """Let the others run until `condition` holds; the server is real, so no event tells."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
