"""Rank one group: send its requests, isolate what the service refuses, and merge the scores.

Nothing is remembered between groups but the sizes that the service refused. They only prevent
requests that would be refused too, so a resumed or parallel run makes the same decisions.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.core.errors import RequestError, RerankError, TooLarge
from pipeline.core.records import Ranking, Request, Scores
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.ranking.bisection import DocumentScores, Failure, ask_documents
from pipeline.ranking.merging.final_request import FinalRequest
from pipeline.ranking.merging.merge import merge
from pipeline.ranking.merging.merged import Merged
from pipeline.ranking.refused_sizes import RefusedSizes, RequestSize
from pipeline.ranking.request_sizes import RequestSizes
from pipeline.ranking.rows import make_ranking, rank_single_request

Ask = Callable[[Request], Awaitable[Scores]]
"""Returns the scores of a request, from the store or from the service."""


async def rerank_group(
    plan: Plan, ask: Ask, planner: Planner, refused_sizes: RefusedSizes
) -> Ranking:
    """Rank a group's candidates, best first; equal scores keep first-stage order.

    A group that fits one request unchanged is ranked by the one answer, without packing it. If the
    service refuses that request, the group is packed and handled as any other.

    Args:
        plan: What is sent.
        ask: Sends a request.
        planner: Packs the group again if its requests are too large for the service.
        refused_sizes: The sizes that the service refused in this run.

    Raises:
        ServiceEnded: if the service gives no more answers.
        Interrupted: if the job was asked to stop.
    """
    single, refusal = plan.single_request, None
    if single is not None and not refused_sizes:
        try:
            scores = await ask(single.request)
            if scores.total_tokens is None:
                scores = replace(scores, total_tokens=planner.single_request_tokens(plan.group))
            return rank_single_request(plan.group, single, scores)
        except RequestError as error:
            refusal = error
    return await _rerank_packed(plan, ask, planner, refused_sizes, refusal)


async def _rerank_packed(
    plan: Plan,
    ask: Ask,
    planner: Planner,
    refused_sizes: RefusedSizes,
    refusal: RequestError | None,
) -> Ranking:
    """Rank a group that may take several requests.

    The first-round requests are sent at the same time, always for all scores. If one is refused for
    its size, the group is packed again at half the limits, repeatedly, down to single documents. A
    plan with a stored answer is replaced by that of the whole group if one of its requests is too
    large, or if the whole group costs little more.

    Args:
        plan: What is sent.
        ask: Sends a request.
        planner: Packs the group again.
        refused_sizes: The sizes that the service refused in this run.
        refusal: The error of the plan's single request, if that was sent already.

    Raises:
        ServiceEnded: if the service gives no more answers.
        Interrupted: if the job was asked to stop.
    """
    refused: list[RequestSize] = []
    while True:
        requests = _GroupRequests(plan, ask, planner, refused_sizes, refused)
        try:
            merged = await requests.merged(refusal)
        except TooLarge:
            plan, refusal = requests.plan, None
            if plan.base is not None:
                plan = plan.base.whole
            else:
                plan = await asyncio.to_thread(planner.repack, plan)
        else:
            break
    if not requests.failures:
        for size in refused:
            refused_sizes.learn(size)
    ranking = make_ranking(
        plan,
        merged,
        requests.failures,
        num_requests=requests.num_requests,
        total_tokens=requests.total_tokens,
    )
    return ranking if plan.base is None else _with_savings(ranking, requests)


class _GroupRequests(Struct, eq=False):
    """Sends the requests of a group at one packing, and merges their answers.

    Attributes:
        plan: What is sent; replaced if the stored answer is given up.
        ask: Sends a request.
        planner: Counts tokens.
        refused_sizes: The sizes that the service refused in this run.
        refused: Takes the sizes of this group's requests that are refused.
        failures: Why units have no score, by unit.
        num_requests: Requests that the ranking is made of.
        total_tokens: Their tokens.
        spent_tokens: Tokens of all answers, including those that the ranking is not made of.
    """

    plan: Plan
    ask: Ask
    planner: Planner
    refused_sizes: RefusedSizes
    refused: list[RequestSize]
    failures: dict[int, Failure] = field(default_factory=dict)
    num_requests: int = 0
    total_tokens: int = 0
    spent_tokens: int = 0

    async def merged(self, refusal: RequestError | None = None) -> Merged:
        """Return the group's units in their merged order.

        Args:
            refusal: The error of the only request, if that was sent already.

        Raises:
            TooLarge: if a request was refused for its size.
        """
        base, packing, settings = self.plan.base, self.plan.packing, self.plan.settings
        answers = await self._ask_all(self.plan.to_ask(), refusal)
        if base is not None:
            answers.insert(0, base.scores)
            self.num_requests += 1
            self.total_tokens += base.total_tokens
        outcome = merge(
            packing,
            answers,
            depth=settings.depth,
            trust=settings.merge == "trust",
            listwise=settings.profile.listwise,
        )
        if base is not None and isinstance(outcome, FinalRequest):
            if self.plan.is_better_whole(len(outcome.documents)):
                self.plan, self.failures = base.whole, {}
                self.num_requests = self.total_tokens = 0
                return await self.merged()
        while not isinstance(outcome, Merged):
            outcome = outcome.settle_all(await self._ask_all(outcome.requests))
        return outcome

    async def _ask_all(
        self, requests: Sequence[IntArray], refusal: RequestError | None = None
    ) -> list[FloatArray | None]:
        """Return the scores of each request, in the order of its units; None if it failed."""
        orders = [self.plan.sending_order(units) for units in requests]
        sent = [units[order] for units, order in zip(requests, orders, strict=True)]
        if len(sent) == 1:
            outcomes = [await self._ask_one(sent[0], refusal)]
        else:
            async with asyncio.TaskGroup() as tasks:
                sending = [tasks.create_task(self._ask_one(units)) for units in sent]
            outcomes = [task.result() for task in sending]
        answers = [outcome for outcome in outcomes if isinstance(outcome, DocumentScores)]
        errors = [outcome for outcome in outcomes if isinstance(outcome, RerankError)]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, TooLarge))
        return [self._scores(*of_one) for of_one in zip(sent, orders, answers, strict=True)]

    async def _ask_one(
        self, sent: IntArray, refusal: RequestError | None = None
    ) -> DocumentScores | RerankError:
        """Return the answer or the error: if raised, it would cancel requests that are paid."""
        if isinstance(refusal, TooLarge):
            await self._note_too_large(sent)
        sizes = self.plan.units.sizes[sent]
        try:
            return await ask_documents(sent, sizes, self._ask_units, refusal=refusal)
        except RerankError as error:
            return error

    async def _ask_units(self, sent: IntArray) -> Scores:
        if self.refused_sizes and await self._would_be_refused(sent):
            raise TooLarge("too_large", "a request that is no larger was refused before")
        request = self.plan.request(sent)
        try:
            scores = await self.ask(request)
        except TooLarge:
            await self._note_too_large(sent)
            raise
        if scores.total_tokens is None:
            return replace(scores, total_tokens=request.tokens)
        return scores

    async def _would_be_refused(self, sent: IntArray) -> bool:
        """Return whether a request is as large as a refused one; count tokens if it depends on it.

        Without a count, only requests that are smaller by their bound would be sent.
        """
        sizes = RequestSizes(self.plan, self.planner)
        if not self.refused_sizes.cover(sizes.least_with_most_tokens(sent)):
            return False
        await sizes.count()
        return self.refused_sizes.cover(sizes.least(sent))

    async def _note_too_large(self, sent: IntArray) -> None:
        self.refused_sizes.on_refusal()
        if len(sent) > 1:
            sizes = RequestSizes(self.plan, self.planner)
            await sizes.count()
            self.refused.append(sizes.most(sent))

    def _scores(self, sent: IntArray, order: IntArray, answer: DocumentScores) -> FloatArray | None:
        self.num_requests += answer.num_requests
        self.total_tokens += answer.total_tokens
        self.spent_tokens += answer.total_tokens
        for index, failure in answer.failures.items():
            self.failures.setdefault(int(sent[index]), failure)
        if not answer.num_requests:
            return None
        scores = np.empty_like(answer.scores)
        scores[order] = answer.scores
        return scores


def _with_savings(ranking: Ranking, requests: _GroupRequests) -> Ranking:
    """Add to the ranking what the stored answer saved; below 0 if it was given up."""
    base = requests.plan.base
    if base is None:
        return replace(ranking, saved_tokens=ranking.total_tokens - requests.spent_tokens)
    return replace(
        ranking,
        documents_reused=len(base.scores),
        saved_tokens=base.whole_tokens - requests.spent_tokens,
    )
