"""Get the scores of a request: paced, within the budget, retried where that helps.

This module knows nothing of HTTP: a `Transport` sends a request once. While a request waits for its
next attempt it holds no place in flight, no place in the queue and no reservation of money.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import numpy as np

from pipeline.core.errors import (
    BadAnswer,
    IncompleteAnswer,
    RequestError,
    RerankError,
    ServiceEnded,
    Transient,
)
from pipeline.core.events import log_event
from pipeline.core.gate import Gate, Gates
from pipeline.core.records import Request, Scores
from pipeline.core.stop import StopSwitch
from pipeline.service.attempt import Sender
from pipeline.service.circuit_breaker import AttemptFailed
from pipeline.service.endpoint import Endpoint
from pipeline.service.failures import is_verdict
from pipeline.service.metrics import Metrics
from pipeline.service.run_budget import RunBudget

log = logging.getLogger(__name__)


class RerankClient:
    """Ask an endpoint until there are scores, a verdict, or no attempt left; for one run.

    Args:
        endpoint: The service to ask; other clients may ask it at the same time.
        metrics: Where this client's attempts, tokens, money and latencies are counted.
        stop_switch: Ends the waits of calls when it is stopped.
        gate: Nothing is sent while it is closed, such as while no answer could be saved.
        budget: What this run may spend; by default what the endpoint's clients may spend together.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        metrics: Metrics,
        stop_switch: StopSwitch | None = None,
        gate: Gate | Gates | None = None,
        budget: RunBudget | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._circuit = endpoint.circuit
        self._metrics = metrics
        self._stop_switch = stop_switch or StopSwitch()
        budget = budget or RunBudget(endpoint.budget)
        self._sender = Sender(endpoint, metrics, self._stop_switch, gate or Gate(), budget)
        self._num_calls = 0
        self._num_resting = 0

    def target_concurrency(self) -> int:
        """Return how many calls of `score` keep every place in flight taken."""
        return self._endpoint.throttle.target_concurrency + self._num_resting

    def stop(self, error: RerankError) -> None:
        """Send nothing more: calls that wait, and all later ones, raise `error`.

        What is in flight goes on. Only the first call counts.
        """
        self._stop_switch.stop(error)

    async def score(self, request: Request) -> Scores:
        """Return the scores of a request's documents, in its order.

        Try transient failures and bad answers again, up to `max_attempts` in all, after a random
        part of 1, 2, 4 ... seconds. An attempt is spent only if the service then serves another
        request; else there is an outage, which costs time alone, as a 429 does.

        Raises:
            TooLarge: if a smaller request may be served.
            ContentRefused: if the request holds something that the service refuses.
            Rejected: if the service refuses it for another reason; at every attempt, if the status
                is not about the request.
            Transient: if it failed at every attempt, while others were served.
            IncompleteAnswer: if no attempt brought a score for some documents, always the same.
            BadAnswer: if no attempt brought one finite score for each document.
            ServiceEnded: if the service will give no more answers; every other call ends too.
            RerankError: the one given to `stop`, or that broke the gate.
        """
        circuit, policy = self._circuit, self._endpoint.policy
        attempt, last_gaps = 1, b""
        self._begin_call()
        try:
            while True:
                if circuit.has_served and not circuit.is_open:
                    outcome = await self._sender.send(request)
                else:
                    outcome = await self._send_on_trial(request)
                if isinstance(outcome, Scores):
                    return outcome
                if outcome is None or not await self._counts(outcome):
                    continue
                error = outcome.error
                if is_verdict(error):
                    raise error
                gaps = _gaps(error) or last_gaps
                if attempt >= policy.max_attempts:
                    raise _last_error(error, request, is_erratic=last_gaps not in (b"", gaps))
                last_gaps = gaps
                attempt += 1
                await self._back_off(request, attempt, outcome)
        except ServiceEnded as error:
            self.stop(error)
            raise
        finally:
            self._end_call()

    def _begin_call(self) -> None:
        self._endpoint.num_asked += 1
        if not self._num_calls:
            self._circuit.timer.on_give_up.add(self.stop)
        self._num_calls += 1

    def _end_call(self) -> None:
        self._endpoint.num_asked -= 1
        self._num_calls -= 1
        if not self._num_calls:
            self._circuit.timer.on_give_up.discard(self.stop)

    async def _back_off(self, request: Request, attempt: int, failure: AttemptFailed) -> None:
        error = failure.error
        wait_s = self._endpoint.policy.backoff.wait_s(attempt - 2)
        if isinstance(error, Transient) and error.retry_after_s is not None:
            wait_s = max(wait_s, self._circuit.timer.cut(error.retry_after_s))
        self._metrics.retries += 1
        self._endpoint.retry_log.add(error.code, wait_s)
        log_event(
            log,
            logging.DEBUG,
            "request.retry_scheduled",
            query_id=request.query_id,
            attempt=attempt,
            wait_s=round(wait_s, 1),
            code=error.code,
        )
        await self._rest(failure.failed_at + wait_s - self._endpoint.clock())

    async def _send_on_trial(self, request: Request) -> Scores | AttemptFailed | None:
        """Send the request once the outage is over; before the first success, with few others."""
        if self._circuit.is_open:
            await self._wait_for_service()
            return None
        trial = self._endpoint.trial
        with self._stop_switch.interruptible():
            await trial.acquire()
        try:
            if self._circuit.has_served or self._circuit.is_open:
                return None
            outcome = await self._sender.send(request)
            if isinstance(outcome, AttemptFailed):
                await self._counts(outcome)
            return outcome
        finally:
            trial.release()

    async def _wait_for_service(self) -> None:
        """Wait until an outage is over; one of the waiting calls sends witnesses."""
        async with self._witness_turn():
            while self._circuit.is_open:
                await self._rest(self._circuit.next_wait_s())
                if self._circuit.is_open:
                    await self._sender.send_witness()

    async def _counts(self, failure: AttemptFailed) -> bool:
        """Return whether a failure counts against its request, or belongs to an outage."""
        endpoint = self._endpoint
        if failure.counts is None and not self._circuit.is_suspicious(endpoint.num_asked):
            await self._rest(endpoint.policy.patience_s, until=failure.decided)
        if failure.counts is None:
            async with self._witness_turn():
                while failure.counts is None:
                    await self._sender.send_witness()
        return bool(failure.counts)

    @asynccontextmanager
    async def _witness_turn(self) -> AsyncIterator[None]:
        """Hold the right to send witnesses while the body runs."""
        lock = self._endpoint.witness_lock
        with self._stop_switch.interruptible():
            await lock.acquire()
        try:
            yield
        finally:
            lock.release()

    async def _rest(self, wait_s: float, *, until: asyncio.Event | None = None) -> None:
        """Wait so many seconds, or until the event is set."""
        if wait_s <= 0:
            return
        self._num_resting += 1
        try:
            with self._stop_switch.interruptible(), suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await (until or asyncio.Event()).wait()
        finally:
            self._num_resting -= 1


def _gaps(error: RequestError) -> bytes:
    """Return which documents have no score in an incomplete answer; empty for another failure."""
    return np.isnan(error.scores).tobytes() if isinstance(error, IncompleteAnswer) else b""


def _last_error(error: RequestError, request: Request, *, is_erratic: bool) -> RequestError:
    """Return the final error of a request, by its last attempt.

    The scores of an incomplete answer are used, unless other documents had none before.
    """
    if not isinstance(error, IncompleteAnswer):
        return error
    if is_erratic:
        return BadAnswer(error.code, error.message, status=error.status)
    if error.total_tokens is None:
        error.total_tokens = request.tokens
    return error
