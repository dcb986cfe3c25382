"""How often a request is asked: attempts, back-off, outages, the budget.

Knows nothing of HTTP: `ask` sends a request once. No attempt holds a slot, a place in the pace or a
reservation of money while it waits for the next one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

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
from pipeline.core.records import Request, Scores
from pipeline.core.settings import RunSettings
from pipeline.service.circuit_breaker import CircuitBreaker
from pipeline.service.cost_budget import CostBudget
from pipeline.service.metrics import Metrics
from pipeline.service.throttle.throttle import Throttle

log = logging.getLogger(__name__)

FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 20.0
_MOST_DOUBLINGS: Final = 10

CONNECTION_LOST: Final = "connection_lost"
TIMEOUT: Final = "timeout"
_MAYBE_PAID: Final = (CONNECTION_LOST, TIMEOUT)
"""Codes of failures after which nobody knows whether the service did the work."""


class Attempts:
    """Asks until there are scores, a verdict, or no attempt left.

    Args:
        settings: How many attempts, how long an outage, how much money.
        ask: Sends a request once; raises our errors alone.
        throttle: The pace.
        counters: Where attempts, tokens and money are counted.
        clock: Seconds, never going back.
        sleep: Waits so many seconds before another attempt; None for one that `stop` cuts short.
        uniform: A random number from 0 to 1, for the jitter.

    Attributes:
        resting: Requests that wait for another attempt.
    """

    def __init__(
        self,
        settings: RunSettings,
        ask: Callable[[Request], Awaitable[Scores]],
        throttle: Throttle,
        counters: Metrics,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] | None,
        uniform: Callable[[], float],
    ) -> None:
        self._max_attempts = settings.max_attempts
        self._ask = ask
        self._throttle = throttle
        self._counters = counters
        self._sleep = sleep or self._sleep_unless_stopped
        self._uniform = uniform
        self._usd_per_token = settings.profile.usd_per_million_tokens / 1e6
        self._budget = (
            None
            if settings.max_cost_usd is None
            else CostBudget(settings.max_cost_usd, self._usd_per_token)
        )
        self._circuit = CircuitBreaker(settings.max_outage_s, clock)
        self._asked_at_once = 0
        self.resting = 0
        self._stopped_by: RerankError | None = None
        self._stopped = asyncio.Event()

    def stop(self, error: RerankError) -> None:
        """Send nothing more: those who wait, and all who come, get `error`."""
        if self._stopped_by is None:
            self._stopped_by = error
            self._stopped.set()
            self._throttle.stop(error)

    async def score(self, request: Request) -> Scores:
        """The scores of a request, as `RerankClient.score` promises."""
        attempt, answered_before = 1, self._counters.answered
        self._asked_at_once += 1
        try:
            while True:
                try:
                    if self._circuit.is_open:
                        scores = await self._probe(request)
                    else:
                        scores = await self._send(request)
                except _CircuitTurned:
                    continue
                except (TooLarge, ContentRefused, Rejected):
                    self._circuit.served()
                    raise
                except (Throttled, Transient, BadAnswer) as error:
                    is_last = attempt >= self._max_attempts
                    self._circuit.failed(
                        request.key,
                        error,
                        asked_at_once=self._asked_at_once,
                        last=is_last and answered_before == self._counters.answered,
                    )
                    if isinstance(error, Throttled) or self._circuit.is_open:
                        continue
                    if is_last:
                        raise
                    attempt += 1
                    await self._back_off(request, attempt, error)
                else:
                    self._circuit.served()
                    return scores
        except ServiceEnded as error:
            self.stop(error)
            raise
        finally:
            self._asked_at_once -= 1

    async def _back_off(self, request: Request, attempt: int, error: RequestError) -> None:
        doublings = min(attempt - 2, _MOST_DOUBLINGS)
        longest_s = min(FIRST_BACKOFF_S * 2.0**doublings, LONGEST_BACKOFF_S)
        wait_s = self._uniform() * longest_s
        self._counters.retries += 1
        log.warning(
            "request.retry_scheduled query_id=%s attempt=%d wait_s=%.1f code=%s",
            *(request.query_id, attempt, wait_s, error.code),
        )
        await self._rest(wait_s)

    async def _rest(self, wait_s: float) -> None:
        self.resting += 1
        try:
            await self._sleep(wait_s)
        finally:
            self.resting -= 1

    async def _probe(self, request: Request) -> Scores:
        """Send the request alone, to find out whether an outage is over."""
        async with self._circuit.turn:
            if not self._circuit.is_open:
                raise _CircuitTurned
            await self._rest(self._circuit.next_wait_s())
            return await self._send(request, in_outage=True)

    async def _send(self, request: Request, *, in_outage: bool = False) -> Scores:
        """Send the request once, in its turn and within the budget."""
        budget, spent_usd = self._budget, 0.0
        num_documents = request.num_documents
        reserved_usd = 0.0
        if budget is not None:
            reserved_usd = await budget.reserve(request.tokens, num_documents)
        try:
            with await self._throttle.admit(num_documents, request.tokens) as permit:
                if self._circuit.is_open and not in_outage:
                    raise _CircuitTurned
                spent_usd = reserved_usd  # unless the service says otherwise
                try:
                    scores = await self._ask(request)
                except Throttled as error:
                    permit.throttled(error)
                    raise
                permit.answered(scores.total_tokens)
            spent_usd = self._count(request, scores)
        except RequestError as error:
            if not (isinstance(error, BadAnswer) or error.code in _MAYBE_PAID):
                spent_usd = 0.0
            raise
        finally:
            if budget is not None:
                budget.settle(reserved_usd, spent_usd)
        return scores

    def _count(self, request: Request, scores: Scores) -> float:
        """Count a success; its price in US dollars."""
        counters, tokens = self._counters, scores.total_tokens
        if tokens is None:
            tokens = request.tokens
        cost_usd = tokens * self._usd_per_token
        if self._budget is not None:
            self._budget.learn(request.tokens, request.num_documents, tokens)
        counters.answered += 1
        counters.tokens += tokens
        counters.cost_usd += cost_usd
        return cost_usd

    async def _sleep_unless_stopped(self, wait_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._stopped.wait()
        if self._stopped_by is not None:
            raise self._stopped_by.with_traceback(None)


class _CircuitTurned(Exception):
    """The circuit opened or closed while a request waited for its turn; nothing was sent."""
