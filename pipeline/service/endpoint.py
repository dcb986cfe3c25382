"""One service as all its clients share it: connections, quota, money, and whether it is up."""

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import Final

from msgspec import Struct

from pipeline.core.backoff import Backoff
from pipeline.service.circuit_breaker import PROBE_BACKOFF, CircuitBreaker
from pipeline.service.cost_budget import CostBudget
from pipeline.service.throttle.interface import Admission
from pipeline.service.transport import Transport
from pipeline.service.usage_check import UsageCheck

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


class Endpoint:
    """What is asked: one provider, model and account; for one event loop.

    Args:
        transport: Sends a request once.
        throttle: Admits requests within the limits of the account.
        budget: What may be spent.
        policy: How long to insist.

    Attributes:
        circuit: Tells an outage of the service from a failure of one request.
        num_asked: Requests being asked at this moment, by all clients.
        num_answered: Requests that got their scores.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        throttle: Admission,
        budget: CostBudget,
        policy: RetryPolicy | None = None,
    ) -> None:
        self.transport: Transport = UsageCheck(transport)
        self.throttle = throttle
        self.budget = budget
        self.policy = policy = policy or RetryPolicy()
        self.circuit = CircuitBreaker(
            policy.max_outage_s, lambda: self.clock() - throttle.paused_s, policy.probe_backoff
        )
        self.num_asked = 0
        self.num_answered = 0

    def __repr__(self) -> str:
        return (
            f"<Endpoint asked={self.num_asked} answered={self.num_answered}"
            f" {self.throttle!r} {self.budget!r} {self.circuit!r}>"
        )

    @cached_property
    def clock(self) -> Callable[[], float]:
        """The clock of the event loop that the endpoint is used on."""
        return asyncio.get_running_loop().time
