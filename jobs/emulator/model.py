"""The model behind the endpoints: counts tokens and scores documents, in a thread of its own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np

from jobs.emulator import refusals
from jobs.emulator.config import EmulatorConfig
from jobs.emulator.distortions import to_scores
from jobs.emulator.pictures import check_kinds
from jobs.emulator.reader import Reader, Reading
from jobs.emulator.scorer import logit, weigh_query
from jobs.emulator.wire_formats import RerankRequest
from pipeline.core.models import ModelProfile
from pipeline.planning.search_units import count_chunks, count_search_units

P = ParamSpec("P")
T = TypeVar("T")

_MAX_DOCUMENT_CHARACTERS = 300_000


class Input(NamedTuple):
    """A request as the model reads it.

    Attributes:
        tokens: Query tokens x documents + document tokens, the formula of page `text-rerank-api`
            (May 2026); instruction and template are not counted.
        content: The request's fingerprint.
        search_units: What is billed for it, where searches are billed.
    """

    query: Reading
    documents: list[Reading]
    tokens: int
    content: int
    search_units: int


class Model:
    """Reads and scores requests one at a time.

    Every model has the tokens of the Qwen vocabulary; the real gte-rerank-v2 has its own.
    """

    def __init__(self, config: EmulatorConfig) -> None:
        self._config = config
        self._reader = Reader()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="emulator-model")

    async def read(self, request: RerankRequest, profile: ModelProfile | None) -> Input:
        """Truncate every text to what the model reads, and count tokens.

        Args:
            request: What is asked.
            profile: Of the model; None for an unknown one.

        Raises:
            Refusal: for an unknown model, or a request over one of its limits.
        """
        if profile is None:
            raise refusals.unknown_model(request.model)
        if not 1 <= len(request.documents) <= profile.max_documents:
            raise refusals.wrong_batch_size(profile.max_documents)
        check_kinds([document.kind for document in request.documents], profile)
        for index, document in enumerate(request.documents):
            if document.kind == "text" and len(document.content) > _MAX_DOCUMENT_CHARACTERS:
                raise refusals.huge_document(index, _MAX_DOCUMENT_CHARACTERS)
        taken = await self._in_thread(self._read, request, profile)
        if taken.tokens > profile.max_tokens_per_request:
            raise refusals.too_many_tokens(profile.max_tokens_per_request)
        return taken

    async def score(self, taken: Input) -> list[float]:
        """Return the score of each document, in their order."""
        return await self._in_thread(self._score, taken)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(work, *args, **kwargs))

    def _read(self, request: RerankRequest, profile: ModelProfile) -> Input:
        cap = profile.max_tokens_per_document
        query = self._reader.read(request.query, cap)
        documents = [self._reader.read(document, cap) for document in request.documents]
        tokens = query.tokens * len(documents) + sum(document.tokens for document in documents)
        units = 0
        if (rule := profile.search_units) is not None:
            chunks = count_chunks(rule, query.tokens, np.array([one.tokens for one in documents]))
            units = int(count_search_units(rule, chunks.sum()))
        return Input(query, documents, tokens, request.fingerprint(), units)

    def _score(self, taken: Input) -> list[float]:
        query, config = weigh_query(taken.query), self._config
        scores: list[float] = to_scores(
            np.array([logit(query, document) for document in taken.documents]),
            config.score_distortion,
            noise=config.score_noise,
            content=taken.content,
            seed=config.seed,
        ).tolist()
        if (digits := config.score_digits) is not None:
            return [round(score, digits) for score in scores]
        return scores
