"""The same request is paid once, whoever asks for it and whenever."""

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pytest

from pipeline.core.errors import Transient
from pipeline.core.records import Request, Scores
from pipeline.dataset.cached_scorer import CachedScorer
from pipeline.score_store.store import ScoreStore
from pipeline.storage.location import locate


def make_request(name: str) -> Request:
    return Request(
        query=name,
        documents=["a", "b"],
        tokens=10,
        key=name.encode().ljust(16, b"."),
        document_keys=np.array([1, 2], dtype=np.uint64),
        query_id=name,
    )


@dataclass
class Service:
    """Answers when it is told to; fails as often as it is told to."""

    failures: int = 0
    asked: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def score(self, request: Request) -> Scores:
        self.asked.append(request.query)
        await self.go.wait()
        if self.failures:
            self.failures -= 1
            raise Transient("unavailable")
        return Scores(np.array([0.5, 0.25]), 10, "id")


@pytest.fixture
async def store(tmp_path):
    async with ScoreStore(locate(str(tmp_path))) as store:
        yield store


async def ask_twice(answers: CachedScorer, service: Service, known) -> list[object]:
    twins = [asyncio.create_task(answers.ask(make_request("q"), known)) for _ in range(2)]
    await asyncio.sleep(0)
    service.go.set()
    return await asyncio.gather(*twins, return_exceptions=True)


async def test_two_groups_that_ask_the_same_at_once_pay_once(store):
    service = Service()
    answers = CachedScorer(store, service)
    known = await answers.look_up([make_request("q").key])

    first, second = await ask_twice(answers, service, known)

    assert service.asked == ["q"]
    assert answers.reused == 1
    assert first.scores.tolist() == second.scores.tolist() == [0.5, 0.25]


async def test_a_group_that_asks_the_same_after_the_look_up_of_both_pays_nothing(store):
    service = Service()
    service.go.set()
    answers = CachedScorer(store, service)
    known = await answers.look_up([make_request("q").key])

    await answers.ask(make_request("q"), known)
    await answers.ask(make_request("q"), known)

    assert service.asked == ["q"]


async def test_a_request_whose_twin_failed_is_asked_for_itself(store):
    service = Service(failures=1)
    answers = CachedScorer(store, service)
    known = await answers.look_up([make_request("q").key])

    first, second = await ask_twice(answers, service, known)

    assert isinstance(first, Transient)
    assert second.scores.tolist() == [0.5, 0.25]
    assert service.asked == ["q", "q"]
