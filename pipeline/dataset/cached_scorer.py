"""Where a request's scores come from: the store if it was paid for before, else the service."""

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from pipeline.core.records import Request, Scores
from pipeline.score_store.store import ScoreStore
from pipeline.service.client import RerankClient

Known: TypeAlias = dict[bytes, Scores | None]
"""What was looked up for the first requests of some groups; None where the store has nothing."""


class CachedScorer:
    """Asks the store first, and saves what the service answers.

    Groups of the same query and documents make the same request, which is paid once.

    Attributes:
        reused: Answers that the store had.
    """

    def __init__(self, store: ScoreStore, client: RerankClient) -> None:
        self._store = store
        self._client = client
        self._asked: set[bytes] = set()
        self._twins: dict[bytes, asyncio.Event] = {}
        self.reused = 0

    async def look_up(self, keys: Sequence[bytes]) -> Known:
        """What the store has for these requests."""
        found = await self._store.look_up(keys)
        return {key: found.get(key) for key in keys}

    async def ask(self, request: Request, known: Known) -> Scores:
        """The scores of a request.

        Args:
            request: What is asked.
            known: What was looked up already; takes up what is answered.

        Raises:
            RequestError: if the service gives no scores for this request.
            RerankError: if the job must end; see `RerankClient.score`.
        """
        key = request.key
        while key in self._asked:
            await self._twins.setdefault(key, asyncio.Event()).wait()
            known.pop(key, None)  # whoever looked it up did so before the twin was answered
        scores = known[key] if key in known else (await self._store.look_up([key])).get(key)
        if scores is not None and len(scores.scores) == request.num_documents:
            self.reused += 1
            return scores
        self._asked.add(key)
        try:
            scores = await self._client.score(request)
            await self._store.save(request, scores)
        finally:
            self._asked.remove(key)
            if key in self._twins:
                self._twins.pop(key).set()
        if key in known:
            known[key] = scores
        return scores
