"""Where a request's scores come from: the store if it was paid for before, else the service."""

from collections.abc import Mapping, Sequence

from pipeline.client import RerankClient
from pipeline.records import Request, Scores
from pipeline.score_store import ScoreStore


class PaidAnswers:
    """Asks the store first, and saves what the service answers.

    Attributes:
        reused: Answers that the store had.
    """

    def __init__(self, store: ScoreStore, client: RerankClient) -> None:
        self._store = store
        self._client = client
        self.reused = 0

    async def look_up(self, keys: Sequence[bytes]) -> Mapping[bytes, Scores | None]:
        """What the store has for the first requests of some groups; None where it has nothing."""
        found = await self._store.look_up(keys)
        return {key: found.get(key) for key in keys}

    async def ask(self, request: Request, known: Mapping[bytes, Scores | None]) -> Scores:
        """The scores of a request.

        Args:
            request: What is asked.
            known: What was looked up already.

        Raises:
            RequestError: if the service gives no scores for this request.
            RerankError: if the job must end; see `RerankClient.score`.
        """
        if request.key in known:
            scores = known[request.key]
        else:
            scores = (await self._store.look_up([request.key])).get(request.key)
        if scores is not None and len(scores.scores) == request.num_documents:
            self.reused += 1
            return scores
        scores = await self._client.score(request)
        await self._store.save(request, scores)
        return scores
