"""One service, shared by all its clients: connections, quota, money, and whether it is up."""

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import Final

from msgspec import Struct

from pipeline.core.backoff import Backoff
from pipeline.core.billing import BY_TOKENS, Billing
from pipeline.core.settings import DEFAULT_MAX_OUTAGE_S
from pipeline.service.circuit_breaker import MAX_UNKNOWN, PROBE_BACKOFF, CircuitBreaker
from pipeline.service.cost_budget import CostBudget
from pipeline.service.outage_timer import OutageTimer
from pipeline.service.retry_log import RetryLog
from pipeline.service.throttle.interface import Admission
from pipeline.service.transport import Transport
from pipeline.service.usage_check import UsageCheck
from pipeline.service.witness import Witness

RETRY_BACKOFF: Final = Backoff(first_s=1.0, cap_s=20.0, jitter=True)

MAX_UNREACHED_S: Final = 30.0
"""How long a service may be unreachable from the start, unless a limit is given."""


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How long to retry.

    Attributes:
        max_attempts: Attempts of a request that fails while others are served.
        max_outage_s: Seconds for which the service may serve nothing.
        max_unreached_s: The same while no connection was ever opened; None for no other limit.
        backoff: Waits between the attempts of a request.
        probe_backoff: Waits between the witnesses of an outage.
        patience_s: Seconds that other requests have to show that the service is up, before a
            witness is sent.
    """

    max_attempts: int = 5
    max_outage_s: float = DEFAULT_MAX_OUTAGE_S
    max_unreached_s: float | None = MAX_UNREACHED_S
    backoff: Backoff = RETRY_BACKOFF
    probe_backoff: Backoff = PROBE_BACKOFF
    patience_s: float = 1.0


class Endpoint:
    """One provider, model and account; for one event loop.

    Args:
        transport: Sends a request once.
        throttle: Admits requests within the limits of the account.
        budget: What may be spent.
        policy: How long to retry.
        billing: What requests are billed by.

    Attributes:
        usage_check: Recognises impossible counts of tokens and search units.
        circuit: Distinguishes an outage of the service from a failure of one request.
        witness: The request that is sent to find out.
        witness_lock: Held by the call that sends it.
        trial: Bounds the requests that are unanswered while nothing was ever served.
        num_asked: Requests being asked at this moment, by all clients.
        retry_log: Told of every retry.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        throttle: Admission,
        budget: CostBudget,
        policy: RetryPolicy | None = None,
        billing: Billing = BY_TOKENS,
    ) -> None:
        self.transport = transport
        self.usage_check = UsageCheck()
        self.billing = billing
        self.throttle = throttle
        self.budget = budget
        self.policy = policy = policy or RetryPolicy()
        timer = OutageTimer(
            policy.max_outage_s,
            lambda: self.clock() - throttle.paused_s,
            max_unreached_s=policy.max_unreached_s,
        )
        self.circuit = CircuitBreaker(timer, policy.probe_backoff)
        self.witness = Witness()
        self.witness_lock = asyncio.Lock()
        self.trial = asyncio.Semaphore(MAX_UNKNOWN)
        self.num_asked = 0
        self.retry_log = RetryLog(lambda: self.clock())

    def __repr__(self) -> str:
        return (
            f"<Endpoint asked={self.num_asked} {self.throttle!r} {self.budget!r} {self.circuit!r}>"
        )

    @property
    def outage_s(self) -> float:
        """For how many seconds the service has been down; 0 while it is up."""
        state = self.circuit.snapshot()
        return state.trouble_s if state.is_open else 0.0

    @cached_property
    def clock(self) -> Callable[[], float]:
        """The clock of the event loop that the endpoint is used on."""
        return asyncio.get_running_loop().time
