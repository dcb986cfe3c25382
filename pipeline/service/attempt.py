"""One attempt at a request: paced, within the budget, counted, reported to the circuit breaker."""

import asyncio
import math

from pipeline.core.billing import Bill
from pipeline.core.errors import (
    IncompleteAnswer,
    RequestError,
    ServiceEnded,
    Throttled,
)
from pipeline.core.gate import Gate, Gates
from pipeline.core.records import Request, Scores
from pipeline.core.stop import StopSwitch
from pipeline.service.circuit_breaker import AttemptFailed, OutageBegan
from pipeline.service.cost_budget import NOTHING
from pipeline.service.endpoint import Endpoint
from pipeline.service.failures import may_be_billed
from pipeline.service.metrics import Metrics
from pipeline.service.run_budget import RunBudget
from pipeline.service.throttle.interface import Permit


class Sender:
    """Sends requests once; for one run.

    Args:
        endpoint: What is asked; other runs may ask it at the same time.
        metrics: Where attempts, tokens, money and latencies are counted.
        stop_switch: Ends the waits for a place, for the pace and for money.
        gate: Nothing is sent while it is closed.
        budget: What may be spent.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        metrics: Metrics,
        stop_switch: StopSwitch,
        gate: Gate | Gates,
        budget: RunBudget,
    ) -> None:
        self._endpoint = endpoint
        self._budget = budget
        self._circuit = endpoint.circuit
        self._metrics = metrics
        self._stop_switch = stop_switch
        self._gate = gate

    async def send(
        self, request: Request, *, is_witness: bool = False
    ) -> Scores | AttemptFailed | None:
        """Send the request in its turn; during an outage only a witness is sent.

        Returns:
            Its scores, or how it failed; None after a 429, or if it was not sent, since there is
            an outage or the gate was closed meanwhile.

        Raises:
            ServiceEnded: if the service will give no more answers.
            RerankError: the one that the stop switch was stopped by, or that broke the gate.
        """
        line = None if is_witness else self._circuit.line
        endpoint, metrics, num_documents = self._endpoint, self._metrics, request.num_documents
        bill = endpoint.billing.bill(
            tokens=request.tokens,
            num_documents=num_documents,
            image_tokens=request.image_tokens,
            search_units=request.search_units,
        )
        outcome: Scores | AttemptFailed | None = None
        reservation, spent_usd = NOTHING, 0.0
        try:
            with self._stop_switch.interruptible(line):
                if not self._gate.is_open:
                    await self._gate.wait()
                if self._budget.has_limit:
                    reservation = await self._budget.reserve(bill.most)
                permit = await endpoint.throttle.admit(
                    num_documents, request.tokens, request.documents
                )
            with permit:
                if not self._gate.is_open:
                    return None
                sent_at = endpoint.clock()
                metrics.requests += 1
                try:
                    outcome = await endpoint.transport.send(request)
                except Throttled as error:
                    self._throttled(error, permit)
                except RequestError as error:
                    may_be_billed = self._count_failure(bill, error)
                    spent_usd = self._budget.usd(reservation) if may_be_billed else 0.0
                    if isinstance(error, IncompleteAnswer):
                        error.total_tokens = endpoint.usage_check.tokens(
                            error.total_tokens, bill, num_documents, request.query_id
                        )
                    outcome = self._failed(error, sent_at, is_witness=is_witness)
                except ServiceEnded:
                    metrics.failed += 1
                    raise
                except asyncio.CancelledError:
                    spent_usd = self._budget.usd(reservation)
                    self._count_failure(bill, None)
                    raise
                else:
                    now = endpoint.clock()
                    metrics.latency.add(now - sent_at)
                    outcome = endpoint.usage_check.checked(
                        outcome, bill, num_documents, request.query_id
                    )
                    permit.answered(outcome.total_tokens)
                    spent_usd = self._count_answer(bill, outcome)
                    if not is_witness:
                        endpoint.witness.offer(request)
                    self._circuit.record_success(sent_at, now)
        except OutageBegan:
            pass
        finally:
            self._budget.settle(reservation, spent_usd)
        return outcome

    async def send_witness(self) -> None:
        """Send the witness; the circuit learns whether it was served.

        Raises:
            ServiceEnded: if the service will give no more answers.
            RerankError: the one that the stop switch was stopped by.
        """
        earlier, witness = self._circuit.probes, self._endpoint.witness
        request = witness.request(earlier)
        outcome = await self.send(request, is_witness=True)
        if isinstance(outcome, Scores):
            witness.record_served(request, earlier)
        elif isinstance(outcome, AttemptFailed) and not outcome.counts:
            self._circuit.record_witness_failure(outcome)

    def _throttled(self, error: Throttled, permit: Permit) -> None:
        self._metrics.throttled += 1
        self._circuit.record_throttled(error)
        if error.retry_after_s is not None:
            error.retry_after_s = self._circuit.timer.cut(error.retry_after_s)
        permit.throttled(error)

    def _failed(self, error: RequestError, sent_at: float, *, is_witness: bool) -> AttemptFailed:
        """Return a failed attempt; the circuit knows of it, unless it is the witness's."""
        now = self._endpoint.clock()
        failure = AttemptFailed.of(error, sent_at, now)
        if isinstance(error, IncompleteAnswer):
            failure.decide(counts=True)
            self._circuit.record_success(sent_at, now)  # it scores, if not everything
        elif not is_witness:
            self._circuit.record_failure(failure)
        return failure

    def _count_failure(self, bill: Bill, error: RequestError | None) -> bool:
        """Count an attempt without scores; return whether it may be billed all the same.

        Args:
            bill: What is known of its bill.
            error: How it failed; None if its answer was not waited for.
        """
        self._metrics.failed += 1
        if error is not None and not may_be_billed(error):
            return False
        self._metrics.unanswered += 1
        self._metrics.unanswered_usd += bill.estimate * self._budget.usd_per_unit
        return True

    def _count_answer(self, bill: Bill, scores: Scores) -> float:
        """Count an answered request; return its price in US dollars.

        Args:
            bill: What was known of its bill.
            scores: Its answer.
        """
        budget, metrics, total_tokens = self._budget, self._metrics, scores.total_tokens
        units = bill.units(total_tokens, scores.search_units)
        cost_usd = units * budget.usd_per_unit
        budget.record_usage(bill.most, units)
        metrics.answered += 1
        metrics.tokens += bill.tokens if total_tokens is None else total_tokens
        if bill.search_units:
            metrics.search_units += math.ceil(units)
        metrics.cost_usd += cost_usd
        return cost_usd
