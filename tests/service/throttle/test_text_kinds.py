"""A quota of tokens holds though texts change their kind: English, digits, Chinese."""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from support.client_bench import client_on
from support.fake_transport import FakeTransport
from support.virtual_clock import run

from pipeline.core.records import Request, Scores
from pipeline.core.settings import Pace

PER_S = 500_000
DOCUMENTS = 20

KINDS: dict[str, tuple[str, float]] = {
    "english": ("The pace of a job is bound by what its service grants it, not by hope. ", 0.22),
    "digits": ("31415926535 8979323846 2643383279 5028841971 ", 1.0),
    "chinese": ("这个任务的速度取决于服务允许的配额，而不是希望。", 0.62),
}
"""A text of each kind, and the tokens that the service counts of its bound."""


def request(kind: str, number: int, late: random.Random) -> Request:
    text = KINDS[kind][0] * late.randint(4, 12)
    documents = [text] * DOCUMENTS
    return Request(
        query="q",
        documents=documents,
        tokens=DOCUMENTS * len(text),
        key=number.to_bytes(24),
        scope=b"",
        query_id=number,
    )


def counted(request: Request) -> int:
    text = request.documents[0]
    assert isinstance(text, str)
    (share,) = [share for start, share in KINDS.values() if text.startswith(start)]
    return round(share * request.tokens * random.Random(request.key).uniform(0.93, 1.07))


def mixed(order: random.Random) -> Iterator[str]:
    return (order.choice(list(KINDS)) for _ in itertools.count())


def in_turn(order: random.Random) -> Iterator[str]:
    runs = (itertools.repeat(kind, 150) for kind in itertools.cycle(KINDS))
    return itertools.chain.from_iterable(runs)


async def tokens_sent(
    kinds: Iterator[str], seconds: float, latency_s: float
) -> list[tuple[float, int]]:
    """Send a backlog; return when each request was sent and what the service counted of it."""
    late = random.Random(1)

    def answer(one: Request) -> Scores:
        return Scores(np.ones(DOCUMENTS), counted(one))

    transport = FakeTransport(*itertools.repeat(answer, 20_000), latency_s=latency_s)
    bench = client_on(transport, pace=Pace(tokens_per_minute=60 * PER_S, max_in_flight=1_000))
    numbered = enumerate(kinds)
    loop = asyncio.get_running_loop()

    async def worker() -> None:
        while loop.time() < seconds:
            number, kind = next(numbered)
            await bench.client.score(request(kind, number, late))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(400):
            tasks.create_task(worker())
    return [(one.at, counted(one.request)) for one in transport.sent]


def most_in(sent: list[tuple[float, int]], period_s: float) -> float:
    window: deque[tuple[float, int]] = deque()
    most = total = 0
    for at, amount in sent:
        window.append((at, amount))
        total += amount
        while window[0][0] <= at - period_s:
            total -= window.popleft()[1]
        most = max(most, total)
    return most


@pytest.mark.parametrize("latency_s", [0.3, 1.5])
@pytest.mark.parametrize("order", [mixed, in_turn])
def test_a_mixture_of_kinds_uses_the_quota_and_stays_within_it(
    order: Callable[[random.Random], Iterator[str]], latency_s: float
) -> None:
    sent = run(tokens_sent(order(random.Random(2)), 40, latency_s))

    assert most_in(sent, 1) <= 1.05 * PER_S
    assert most_in(sent, 10) <= 1.01 * 10 * PER_S
    # A start takes some round trips: the requests in flight double with each.
    started_s = 6 * latency_s
    used = sum(amount for at, amount in sent if started_s < at < 40)
    assert used >= 0.95 * PER_S * (40 - started_s)
