"""One request to its scores: paced, within the budget, tried again where that helps.

Knows nothing of HTTP: a `Transport` sends a request once. While a request waits for its next
attempt it holds no place in flight, no place in the queue and no reservation of money.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Final

from msgspec import Struct

from pipeline.core.errors import (
    BadAnswer,
    ContentRefused,
    Rejected,
    RequestError,
    RerankError,
    ServiceEnded,
    Throttled,
    TooLarge,
    Transient,
)
from pipeline.core.events import log_event
from pipeline.core.records import Request, Scores
from pipeline.service.backoff import Backoff
from pipeline.service.circuit_breaker import PROBE_BACKOFF, CircuitBreaker
from pipeline.service.cost_budget import CostBudget
from pipeline.service.failures import may_be_billed
from pipeline.service.metrics import Metrics
from pipeline.service.throttle.interface import Admission
from pipeline.service.transport import Transport

log = logging.getLogger(__name__)

RETRY_BACKOFF: Final = Backoff(first_s=1.0, cap_s=20.0, jitter=True)


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How long to insist.

    Attributes:
        max_attempts: Attempts of a request that fails while others are served.
        max_outage_s: Seconds for which the service may serve nothing.
        backoff: Waits between the attempts of a request.
        probe_backoff: Waits between the probes of an outage.
    """

    max_attempts: int = 5
    max_outage_s: float = 600.0
    backoff: Backoff = RETRY_BACKOFF
    probe_backoff: Backoff = PROBE_BACKOFF


class RerankClient:
    """Ask a service until there are scores, a verdict, or no attempt left.

    Args:
        transport: Sends a request once.
        throttle: Admits requests within the service's limits.
        metrics: Where attempts, tokens, money and latencies are counted.
        budget: What may be spent.
        policy: How long to insist.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        throttle: Admission,
        metrics: Metrics,
        budget: CostBudget,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._transport = transport
        self._throttle = throttle
        self._metrics = metrics
        self._budget = budget
        self._policy = policy = policy or RetryPolicy()
        self._circuit = CircuitBreaker(
            policy.max_outage_s, lambda: self._clock(), policy.probe_backoff
        )
        self._num_asked = 0
        self._num_resting = 0
        self._stopped_by: RerankError | None = None
        self._stopped = asyncio.Event()

    @cached_property
    def _clock(self) -> Callable[[], float]:
        return asyncio.get_running_loop().time

    def target_concurrency(self) -> int:
        """Return how many requests to ask for at once, so that none in flight is missing."""
        return self._throttle.target_concurrency + self._num_resting

    def stop(self, error: RerankError) -> None:
        """Send nothing more: calls that wait, and all later ones, raise `error`.

        What is in flight goes on. Only the first call counts.
        """
        if self._stopped_by is None:
            self._stopped_by = error
            self._stopped.set()
            self._throttle.stop(error)

    async def score(self, request: Request) -> Scores:
        """Return the scores of a request's documents, in its order.

        Try transient failures and bad answers again, up to `max_attempts` in all, after a random
        part of 1, 2, 4 ... seconds. A 429 costs time, but no attempt; so does an outage.

        Raises:
            TooLarge: if a smaller request may be served.
            ContentRefused: if the request holds something that the service refuses.
            Rejected: if the service refuses it for another reason.
            Transient: if it failed at every attempt, while others were served.
            BadAnswer: if no attempt brought one finite score for each document.
            ServiceEnded: if the service will give no more answers; every other call ends too.
            RerankError: the one given to `stop`.
        """
        attempt, answered_before = 1, self._metrics.answered
        self._num_asked += 1
        try:
            while True:
                try:
                    if self._circuit.is_open:
                        scores = await self._probe(request)
                    else:
                        scores = await self._send(request)
                except _CircuitChanged:
                    continue
                except (TooLarge, ContentRefused, Rejected):
                    self._circuit.record_success()
                    raise
                except (Throttled, Transient, BadAnswer) as error:
                    is_last = attempt >= self._policy.max_attempts
                    self._circuit.record_failure(
                        request.key,
                        error,
                        concurrency=self._num_asked,
                        last=is_last and answered_before == self._metrics.answered,
                    )
                    if isinstance(error, Throttled) or self._circuit.is_open:
                        continue
                    if is_last:
                        raise
                    attempt += 1
                    await self._back_off(request, attempt, error)
                else:
                    self._circuit.record_success()
                    return scores
        except ServiceEnded as error:
            self.stop(error)
            raise
        finally:
            self._num_asked -= 1

    async def _back_off(self, request: Request, attempt: int, error: RequestError) -> None:
        wait_s = self._policy.backoff.wait_s(attempt - 2)
        self._metrics.retries += 1
        log_event(
            log,
            logging.WARNING,
            "request.retry_scheduled",
            query_id=request.query_id,
            attempt=attempt,
            wait_s=round(wait_s, 1),
            code=error.code,
        )
        await self._rest(wait_s)

    async def _probe(self, request: Request) -> Scores:
        """Send the request alone, to find out whether an outage is over."""
        async with self._circuit.probe_lock:
            if not self._circuit.is_open:
                raise _CircuitChanged
            await self._rest(self._circuit.next_wait_s())
            return await self._send(request, is_probe=True)

    async def _send(self, request: Request, *, is_probe: bool = False) -> Scores:
        """Send the request once, in its turn and within the budget."""
        num_documents, spent_usd = request.num_documents, 0.0
        reserved_usd = await self._budget.reserve(request.tokens, num_documents)
        try:
            with await self._throttle.admit(num_documents, request.tokens) as permit:
                if self._circuit.is_open and not is_probe:
                    raise _CircuitChanged
                spent_usd = reserved_usd  # unless the service says otherwise
                sent_at = self._clock()
                self._metrics.requests += 1
                try:
                    scores = await self._transport.send(request)
                except Throttled as error:
                    permit.throttled(error)
                    raise
                self._metrics.latency.add(self._clock() - sent_at)
                permit.answered(scores.total_tokens)
            spent_usd = self._count(request, scores)
        except RequestError as error:
            if not may_be_billed(error):
                spent_usd = 0.0
            raise
        finally:
            self._budget.settle(reserved_usd, spent_usd)
        return scores

    def _count(self, request: Request, scores: Scores) -> float:
        """Count an answered request; return its price in US dollars."""
        metrics, tokens = self._metrics, scores.total_tokens
        if tokens is None:
            tokens = request.tokens
        cost_usd = tokens * self._budget.usd_per_token
        self._budget.record_usage(request.tokens, request.num_documents, tokens)
        metrics.answered += 1
        metrics.tokens += tokens
        metrics.cost_usd += cost_usd
        return cost_usd

    async def _rest(self, wait_s: float) -> None:
        """Wait before another attempt; `stop` cuts the wait short."""
        self._num_resting += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopped.wait()
        finally:
            self._num_resting -= 1
        if self._stopped_by is not None:
            raise self._stopped_by.with_traceback(None)


class _CircuitChanged(Exception):
    """The circuit opened or closed while a request waited for its turn; nothing was sent."""
