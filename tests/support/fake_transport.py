"""A transport without HTTP that plays a script, for tests of the layers above it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from pipeline.core.errors import RerankError
from pipeline.core.records import Request, Scores
from pipeline.service.witness import TINY

Step: TypeAlias = str | RerankError | Callable[[Request], Scores | RerankError]
"""An error to raise, "hang" (until `release`), or a function of the request to one or the other."""

HANG = "hang"
TOKENS_PER_DOCUMENT = 10


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it was received; `at` is the loop's time."""

    at: float
    request: Request


class FakeTransport:
    """Plays the next step of its script for each request, and `otherwise` after the last.

    Every answer takes `latency_s` seconds of the event loop's clock.
    """

    def __init__(
        self, *script: Step, otherwise: Step | None = None, latency_s: float = 0.0
    ) -> None:
        self.script = list(script)
        self.otherwise: Step = served if otherwise is None else otherwise
        self.latency_s = latency_s
        self.sent: list[Sent] = []
        self.in_flight = self.most_in_flight = 0
        self._released = asyncio.Event()

    @property
    def queries(self) -> list[str]:
        """The queries, in the order of their requests."""
        return [sent.request.query for sent in self.sent]

    @property
    def witnesses(self) -> list[Sent]:
        """The tiny requests that the client sent to learn whether the service is up."""
        return [sent for sent in self.sent if sent.request is TINY]

    @property
    def gaps_s(self) -> list[float]:
        """Seconds from each request to the next."""
        times = [sent.at for sent in self.sent]
        return [after - before for before, after in pairwise(times)]

    def release(self) -> None:
        """Serve every request that hangs."""
        self._released.set()

    async def send(self, request: Request) -> Scores:
        """Play the next step."""
        self.sent.append(Sent(asyncio.get_running_loop().time(), request))
        step = self.script.pop(0) if self.script else self.otherwise
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency_s)
            if step == HANG:
                await self._released.wait()
                step = served
        finally:
            self.in_flight -= 1
        outcome = step(request) if callable(step) else step
        if isinstance(outcome, RerankError):
            raise outcome
        assert isinstance(outcome, Scores)
        return outcome


def served(request: Request) -> Scores:
    """Return a complete answer: a document's score is 1 / (1 + its index)."""
    return billed(TOKENS_PER_DOCUMENT * request.num_documents)(request)


def billed(total_tokens: int | None) -> Callable[[Request], Scores]:
    """Return a step whose answer reports `total_tokens`."""

    def answer(request: Request) -> Scores:
        return Scores(1 / (1 + np.arange(request.num_documents)), total_tokens, "r")

    return answer
