"""One request to its scores: paced, within the budget, tried again where that helps.

Knows nothing of HTTP: a `Transport` sends a request once. While a request waits for its next
attempt it holds no place in flight, no place in the queue and no reservation of money.
"""

import asyncio
import logging

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
from pipeline.core.gate import Gate
from pipeline.core.records import Request, Scores
from pipeline.core.stop import StopSwitch
from pipeline.service.endpoint import Endpoint
from pipeline.service.failures import may_be_billed
from pipeline.service.metrics import Metrics

log = logging.getLogger(__name__)


class RerankClient:
    """Ask an endpoint until there are scores, a verdict, or no attempt left; for one run.

    Args:
        endpoint: What is asked; other clients may ask it at the same time.
        metrics: Where this client's attempts, tokens, money and latencies are counted.
        stop_switch: Ends the waits of calls when it is stopped.
        gate: Nothing is sent while it is closed, such as while no answer could be saved.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        metrics: Metrics,
        stop_switch: StopSwitch | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._circuit = endpoint.circuit
        self._metrics = metrics
        self._stop_switch = stop_switch or StopSwitch()
        self._gate = gate or Gate()
        self._num_resting = 0

    def target_concurrency(self) -> int:
        """Return how many requests to ask for at once, so that none in flight is missing."""
        return self._endpoint.throttle.target_concurrency + self._num_resting

    def stop(self, error: RerankError) -> None:
        """Send nothing more: calls that wait, and all later ones, raise `error`.

        What is in flight goes on. Only the first call counts.
        """
        self._stop_switch.stop(error)

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
            RerankError: the one given to `stop`, or that broke the gate.
        """
        endpoint, attempt = self._endpoint, 1
        answered_before = endpoint.num_answered
        endpoint.num_asked += 1
        try:
            while True:
                try:
                    if self._circuit.is_open:
                        scores = await self._probe(request)
                    else:
                        scores = await self._send(request)
                except _NotSent:
                    continue
                except (TooLarge, ContentRefused, Rejected):
                    self._circuit.record_success()
                    raise
                except (Throttled, Transient, BadAnswer) as error:
                    is_last = attempt >= endpoint.policy.max_attempts
                    self._circuit.record_failure(
                        request.key,
                        error,
                        concurrency=endpoint.num_asked,
                        last=is_last and answered_before == endpoint.num_answered,
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
            endpoint.num_asked -= 1

    async def _back_off(self, request: Request, attempt: int, error: RequestError) -> None:
        wait_s = self._endpoint.policy.backoff.wait_s(attempt - 2)
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
        lock = self._circuit.probe_lock
        with self._stop_switch.interruptible():
            await lock.acquire()
        try:
            if not self._circuit.is_open:
                raise _NotSent
            await self._rest(self._circuit.next_wait_s())
            return await self._send(request, is_probe=True)
        finally:
            lock.release()

    async def _send(self, request: Request, *, is_probe: bool = False) -> Scores:
        """Send the request once, in its turn and within the budget."""
        endpoint, num_documents = self._endpoint, request.num_documents
        reserved_usd = spent_usd = 0.0
        try:
            with self._stop_switch.interruptible():
                await self._gate.wait()
                reserved_usd = await endpoint.budget.reserve(request.tokens, num_documents)
                permit = await endpoint.throttle.admit(
                    num_documents, request.tokens, request.documents
                )
            with permit:
                if (self._circuit.is_open and not is_probe) or not self._gate.is_open:
                    raise _NotSent
                spent_usd = reserved_usd  # unless the service says otherwise
                sent_at = endpoint.clock()
                self._metrics.requests += 1
                try:
                    scores = await endpoint.transport.send(request)
                except Throttled as error:
                    self._metrics.throttled += 1
                    permit.throttled(error)
                    raise
                self._metrics.latency.add(endpoint.clock() - sent_at)
                permit.answered(scores.total_tokens)
            spent_usd = self._count(request, scores)
        except RequestError as error:
            if not may_be_billed(error):
                spent_usd = 0.0
            raise
        finally:
            endpoint.budget.settle(reserved_usd, spent_usd)
        return scores

    def _count(self, request: Request, scores: Scores) -> float:
        """Count an answered request; return its price in US dollars."""
        metrics, budget, tokens = self._metrics, self._endpoint.budget, scores.total_tokens
        if tokens is None:
            tokens = request.tokens
        cost_usd = tokens * budget.usd_per_token
        budget.record_usage(request.tokens, request.num_documents, tokens)
        self._endpoint.num_answered += 1
        metrics.answered += 1
        metrics.tokens += tokens
        metrics.cost_usd += cost_usd
        return cost_usd

    async def _rest(self, wait_s: float) -> None:
        """Wait before another attempt."""
        self._num_resting += 1
        try:
            with self._stop_switch.interruptible():
                await asyncio.sleep(wait_s)
        finally:
            self._num_resting -= 1


class _NotSent(Exception):
    """The circuit or the gate changed while a request waited for its turn; nothing was sent."""
