"""Where a request's scores come from: the store if it was paid for before, else the service."""

import asyncio
from collections.abc import Sequence
from weakref import ref

from msgspec import Struct, field

from pipeline.core.records import Request, Scores
from pipeline.core.stop import StopSwitch
from pipeline.ranking.rerank_group import Ask
from pipeline.score_store.store import ScoreStore
from pipeline.service.metrics import Metrics


class KnownScores(Struct, eq=False, weakref=True):
    """Stored scores of the first requests of some groups, those saved since included.

    Attributes:
        scores: By the request's key; None where the store has nothing.
    """

    scores: dict[bytes, Scores | None]


class SharedScores(Struct, eq=False):
    """A score store and the requests that will add to it, shared by all runs that use the store.

    Attributes:
        store: Every answer that was paid for.
        in_flight: Keys of requests in flight; an event where another call waits for the answer.
    """

    store: ScoreStore
    in_flight: dict[bytes, asyncio.Event | None] = field(default_factory=dict)
    _known: list[ref[KnownScores]] = field(default_factory=list)

    async def look_up(self, keys: Sequence[bytes]) -> KnownScores:
        """Return what the store has for these requests.

        Raises:
            OutputFailed: if the store cannot be read.
        """
        known = KnownScores(dict.fromkeys(keys))
        self._known = [ref(known), *(one for one in self._known if one() is not None)]
        known.scores.update(await self.store.look_up(keys))
        return known

    def announce(self, key: bytes, scores: Scores) -> None:
        """Pass an answer on to callers that looked it up before it arrived."""
        for reference in self._known:
            known = reference()
            if known is not None and key in known.scores:
                known.scores[key] = scores


class CachedScorer:
    """Asks the store first, and saves what the service answers; for one run.

    Equal requests, of one run or of several, are paid once.

    Args:
        scores: The store.
        ask: Asks the service.
        metrics: Where reused requests are counted.
        stop_switch: Ends the wait for an equal request.
    """

    def __init__(
        self, scores: SharedScores, ask: Ask, metrics: Metrics, stop_switch: StopSwitch
    ) -> None:
        self._shared = scores
        self._in_flight = scores.in_flight
        self._ask_service = ask
        self._metrics = metrics
        self._stop_switch = stop_switch

    async def look_up(self, keys: Sequence[bytes]) -> KnownScores:
        """Return what the store has for these requests.

        Raises:
            OutputFailed: if the store cannot be read.
        """
        return await self._shared.look_up(keys)

    async def ask(self, request: Request, known: KnownScores) -> Scores:
        """Return the scores of a request.

        Args:
            request: What is asked.
            known: What was looked up already.

        Raises:
            RequestError: if the service gives no scores for this request.
            RerankError: if the run must end; see `RerankClient.score`.
        """
        key = request.key
        while key in self._in_flight:
            await self._wait_for_equal_request(key)
        self._in_flight[key] = None
        try:
            if key in known.scores:
                scores = known.scores[key]
            else:
                scores = (await self._shared.store.look_up([key])).get(key)
            if scores is not None and len(scores.scores) == request.num_documents:
                self._metrics.requests_reused += 1
                return scores
            scores = await self._ask_service(request)
            await self._shared.store.save(request, scores)
            self._shared.announce(key, scores)
            return scores
        finally:
            if (answered := self._in_flight.pop(key)) is not None:
                answered.set()

    async def _wait_for_equal_request(self, key: bytes) -> None:
        answered = self._in_flight[key] or asyncio.Event()
        self._in_flight[key] = answered
        with self._stop_switch.interruptible():
            await answered.wait()
