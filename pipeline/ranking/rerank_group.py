"""One group to its ranking: ask for its scores, merge them, and say what became of every row.

The procedure of the job for one query. It remembers nothing between groups but the sizes that the
service refused, and those only spare requests that would be refused too; so a resumed or parallel
run repeats every decision.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.core.content import json_bytes, text_or_url
from pipeline.core.errors import RequestError, RerankError, TooLarge
from pipeline.core.records import Ranking, Request, Scores
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.ranking.bisection import DocumentScores, Failure, ask_documents
from pipeline.ranking.merging.final_request import FinalRequest
from pipeline.ranking.merging.merge import merge
from pipeline.ranking.merging.merged import Merged
from pipeline.ranking.refused_sizes import RefusedSizes, RequestSize
from pipeline.ranking.rows import make_ranking, rank_single_request

Ask = Callable[[Request], Awaitable[Scores]]
"""One request to its scores: from the store, or from the service."""


async def rerank_group(
    plan: Plan, ask: Ask, planner: Planner, refused_sizes: RefusedSizes
) -> Ranking:
    """Rank a group's candidates, best first; equal scores keep first-stage order.

    A group that fits one request unchanged is ranked by its answer alone. Any other group, and
    one of which the service refuses something, takes the general way.

    Raises:
        ServiceEnded: if the service gives no more answers.
        Interrupted: if the job was asked to stop.
    """
    single, refusal = plan.single_request, None
    if single is not None and not refused_sizes:
        try:
            return rank_single_request(plan.group, single, await ask(single.request))
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

    The first-round requests go out together, always for all scores. A refusal for size packs the
    group anew at half the limits, and again, down to single documents. A plan with a base is
    given up for the whole group's where that ranks better for little more.

    Args:
        plan: What is sent.
        ask: Sends a request.
        planner: Packs the group anew.
        refused_sizes: What the run learned so far.
        refusal: The error that the plan's single request got, if it was sent before.

    Raises:
        ServiceEnded: if the service gives no more answers.
        Interrupted: if the job was asked to stop.
    """
    refused: list[RequestSize] = []
    while True:
        asked = _Asked(plan, ask, refused_sizes, refused)
        try:
            merged = await asked.merged(refusal)
        except TooLarge:
            plan, refusal = asked.plan, None
            if plan.base is not None:
                plan = plan.base.whole
            else:
                plan = await asyncio.to_thread(planner.repack, plan)
        else:
            break
    if not asked.failures:
        for size in refused:
            refused_sizes.learn(size)
    ranking = make_ranking(
        plan,
        merged,
        asked.failures,
        num_requests=asked.num_requests,
        total_tokens=asked.total_tokens,
    )
    return ranking if plan.base is None else _with_savings(ranking, asked)


class _Asked(Struct, eq=False):
    """The requests of a group at one packing, what they cost and what failed, by unit.

    `spent_tokens` are those of all answers, also of answers that the ranking is not made of.
    """

    plan: Plan
    ask: Ask
    refused_sizes: RefusedSizes
    refused: list[RequestSize]
    failures: dict[int, Failure] = field(default_factory=dict)
    num_requests: int = 0
    total_tokens: int = 0
    spent_tokens: int = 0

    async def merged(self, refusal: RequestError | None = None) -> Merged:
        """The group's units in their merged order.

        Args:
            refusal: The error that the only request got, if it was sent before.

        Raises:
            TooLarge: if the service wants smaller requests.
        """
        base, packing, settings = self.plan.base, self.plan.packing, self.plan.settings
        answers = await self._ask_all(self.plan.to_ask(), refusal)
        if base is not None:
            answers.insert(0, base.scores)
            self.num_requests += 1
            self.total_tokens += base.total_tokens
        outcome = merge(packing, answers, depth=settings.depth, trust=settings.merge == "trust")
        if base is not None and isinstance(outcome, FinalRequest):
            one_request = len(base.whole.packing.homes) == 1
            if one_request and 2 * len(outcome.documents) > len(self.plan.units):
                # Nearly as dear as the whole group in one request, whose scores need no link.
                self.plan, self.failures = base.whole, {}
                self.num_requests = self.total_tokens = 0
                return await self.merged()
        while isinstance(outcome, FinalRequest):
            (scores,) = await self._ask_all((outcome.documents,))
            outcome = outcome.settle(scores)
        return outcome

    async def _ask_all(
        self, requests: Sequence[IntArray], refusal: RequestError | None = None
    ) -> list[FloatArray | None]:
        """The scores of each request, in the order of its units; None if it failed for good."""
        orders = [self.plan.sending_order(units) for units in requests]
        sent = [units[order] for units, order in zip(requests, orders, strict=True)]
        if len(sent) == 1:
            outcomes = [await self._ask_one(sent[0], refusal)]
        else:
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(self._ask_one(units)) for units in sent]
            outcomes = [task.result() for task in asked]
        answers = [outcome for outcome in outcomes if isinstance(outcome, DocumentScores)]
        errors = [outcome for outcome in outcomes if isinstance(outcome, RerankError)]
        for error in sorted(errors, key=lambda error: isinstance(error, TooLarge)):
            raise error
        return [self._scores(*of_one) for of_one in zip(sent, orders, answers, strict=True)]

    async def _ask_one(
        self, sent: IntArray, refusal: RequestError | None = None
    ) -> DocumentScores | RerankError:
        """One answer, or why there is none: what else is in flight is paid, so let it arrive."""
        if isinstance(refusal, TooLarge):
            self._note_too_large(self.plan.request(sent))
        sizes = self.plan.units.sizes[sent]
        try:
            return await ask_documents(sent, sizes, self._ask_units, refusal=refusal)
        except RerankError as error:
            return error

    async def _ask_units(self, sent: IntArray) -> Scores:
        if self.refused_sizes and self.refused_sizes.cover(self._least_size(sent)):
            raise TooLarge("too_large", "a smaller request was refused before")
        request = self.plan.request(sent)
        try:
            scores = await self.ask(request)
        except TooLarge:
            self._note_too_large(request)
            raise
        if scores.total_tokens is None:
            return replace(scores, total_tokens=request.tokens)
        return scores

    def _note_too_large(self, request: Request) -> None:
        self.refused_sizes.on_refusal()
        if request.num_documents > 1:
            contents = (request.query, *request.documents)
            # As the JSON array of the query and the array of documents.
            num_bytes = sum(map(json_bytes, contents)) + request.num_documents + 4
            self.refused.append(RequestSize(request.num_documents, request.tokens, num_bytes))

    def _least_size(self, sent: IntArray) -> RequestSize:
        """What is sure of a request's size: its tokens only where all of them are counted."""
        units, tokens = self.plan.units, 0
        if units.exact[sent].all() and self.plan.settings.profile.tokenizer == "qwen":
            tokens = self.plan.num_tokens(sent)
        num_bytes = len(text_or_url(self.plan.query).encode()) + int(units.sizes[sent].sum())
        return RequestSize(len(sent), tokens, num_bytes)

    def _scores(self, sent: IntArray, order: IntArray, answer: DocumentScores) -> FloatArray | None:
        self.num_requests += answer.num_requests
        self.total_tokens += answer.total_tokens
        self.spent_tokens += answer.total_tokens
        for place, failure in answer.failures.items():
            self.failures.setdefault(int(sent[place]), failure)
        if not answer.num_requests:
            return None
        scores = np.empty_like(answer.scores)
        scores[order] = answer.scores
        return scores


def _with_savings(ranking: Ranking, asked: _Asked) -> Ranking:
    """Say what the base was good for; where it was given up, it cost more than it saved."""
    base = asked.plan.base
    if base is None:
        return replace(ranking, saved_tokens=ranking.total_tokens - asked.spent_tokens)
    return replace(
        ranking,
        documents_reused=len(base.scores),
        saved_tokens=base.whole_tokens - asked.spent_tokens,
    )
