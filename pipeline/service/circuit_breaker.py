"""Distinguish an outage, and a wrong service, from the failure of a single request.

A failed attempt says nothing by itself. It counts against its request if the service then serves a
request that was sent after the failure: other traffic, or a witness that is sent to find out. If
the witness fails too, the circuit opens: the failures before it count for nothing, and nothing is
sent but one witness at a time until one is served. A 429 is neither a success nor a failure.
"""

import asyncio
import logging
import math
from typing import Final

from msgspec import Struct

from pipeline.core.backoff import Backoff
from pipeline.core.errors import (
    RequestError,
    ServiceRefused,
    Throttled,
    Transient,
)
from pipeline.core.events import log_event
from pipeline.core.stop import StopSwitch
from pipeline.service.failures import describe, is_outage, refuses_all
from pipeline.service.outage_timer import OutageTimer
from pipeline.service.wire.refusals import CURES

log = logging.getLogger(__name__)

PROBE_BACKOFF: Final = Backoff(first_s=1.0, cap_s=10.0)

MAX_UNKNOWN: Final = 8
"""Requests that may be unanswered at once while nothing was ever served; and failures in a row
after which a witness is sent without delay."""

_MAX_UNSERVED: Final = 8
"""Answers without scores, and none with scores, after which a service is a wrong one. Two witnesses
are among them, some time apart."""

_UNSERVED_BACKOFF: Final = Backoff(first_s=0.5, cap_s=0.5)
"""Waits before the witnesses that are sent to find that out."""


class AttemptFailed(Struct, eq=False):
    """An attempt that got no scores, and whether it counts against its request.

    Attributes:
        error: How it failed.
        sent_at: When it was sent, in seconds.
        failed_at: When it failed.
        counts: Whether it counts against its request; None while that is unknown.
        decided: Set once it is known.
    """

    error: RequestError
    sent_at: float
    failed_at: float
    counts: bool | None
    decided: asyncio.Event

    @classmethod
    def of(cls, error: RequestError, sent_at: float, failed_at: float) -> "AttemptFailed":
        """Return a failure of which nothing is known yet."""
        return cls(error, sent_at, failed_at, None, asyncio.Event())

    def decide(self, *, counts: bool) -> None:
        """Say whether the failure counts."""
        self.counts = counts
        self.decided.set()


class CircuitSnapshot(Struct, frozen=True):
    """The state of a circuit breaker.

    Attributes:
        is_open: The service is down.
        undecided: Failures that may yet count against their requests.
        probes: Witnesses that failed in this outage.
        trouble_s: Seconds since the first failure or 429 after the last success; 0 without one.
    """

    is_open: bool
    undecided: int
    probes: int
    trouble_s: float


class OutageBegan(RequestError):
    """The circuit opened while a request waited to be sent."""


class CircuitBreaker:
    """Learn from the outcome of every attempt; for one event loop.

    Args:
        timer: Measures how long nothing is served.
        probe_backoff: Waits before the witnesses of an outage.

    Attributes:
        timer: The same.
        is_open: The service is down.
        has_served: Some request got its scores.
        line: Interrupts requests that wait to be sent when the circuit opens.
        probes: Witnesses that failed in this outage.
    """

    def __init__(self, timer: OutageTimer, probe_backoff: Backoff = PROBE_BACKOFF) -> None:
        self.timer = timer
        self.is_open = False
        self.has_served = False
        self.line = StopSwitch()
        self._probe_backoff = probe_backoff
        self._is_calm = False
        self._undecided: list[AttemptFailed] = []
        self._num_unserved = 0
        self._changed_at = -math.inf
        self._last_probe: RequestError | None = None
        self.probes = 0

    def __repr__(self) -> str:
        state = self.snapshot()
        return (
            f"<CircuitBreaker {'open' if state.is_open else 'closed'}"
            f" undecided={state.undecided} probes={state.probes}"
            f" trouble_s={state.trouble_s:.1f}>"
        )

    def snapshot(self) -> CircuitSnapshot:
        """Return the present state."""
        return CircuitSnapshot(
            self.is_open, len(self._undecided), self.probes, self.timer.elapsed_s
        )

    def record_success(self, sent_at: float, now: float) -> None:
        """Record that a request which was sent at that time got scores."""
        if self._is_calm:
            return
        self.has_served = True
        self.timer.record_success()
        while self._undecided and self._undecided[0].failed_at <= sent_at:
            self._undecided.pop(0).decide(counts=True)
        if self.is_open and sent_at >= self._changed_at:
            self._close(now)
        self._is_calm = not (self._undecided or self.is_open)

    def record_failure(self, failure: AttemptFailed) -> None:
        """Record a failed attempt; `failure.decided` is set once it is known whether it counts."""
        self._record_trouble(failure)
        if self.is_open or failure.sent_at < self._changed_at:
            failure.decide(counts=False)  # there was an outage while it was in flight
        else:
            self._undecided.append(failure)

    def record_throttled(self, error: Throttled) -> None:
        """Record a 429."""
        self._is_calm = False
        self.timer.record_failure(error)

    def record_witness_failure(self, failure: AttemptFailed) -> None:
        """Record that the witness got no scores: the service is down, or a wrong one.

        Raises:
            ServiceRefused: if the service never served anything, and never will.
        """
        error = failure.error
        self._record_trouble(failure)
        is_wrong = refuses_all(error) or (self.probes and self._num_unserved >= _MAX_UNSERVED)
        if is_wrong and not self.has_served and not is_outage(error):
            raise _wrong_service(error)
        self._last_probe = error
        self.probes += 1
        if not self.is_open:
            self._open(error, failure.failed_at)

    def is_suspicious(self, num_asked: int) -> bool:
        """Return whether a witness is to be sent without delay.

        Args:
            num_asked: Requests being asked at this moment.
        """
        return len(self._undecided) >= min(MAX_UNKNOWN, num_asked)

    def next_wait_s(self) -> float:
        """Return the seconds to wait before the next witness of this outage."""
        error = self._last_probe
        assert error is not None
        backoff = self._probe_backoff
        if not self.has_served and not is_outage(error) and backoff.first_s:
            backoff = _UNSERVED_BACKOFF
        wait_s = backoff.wait_s(self.probes - 1)
        if isinstance(error, Transient) and error.retry_after_s is not None:
            wait_s = max(wait_s, error.retry_after_s)
        return self.timer.cut(wait_s)

    def _record_trouble(self, failure: AttemptFailed) -> None:
        self._is_calm = False
        self.timer.record_failure(failure.error, failure.failed_at - failure.sent_at)
        self._num_unserved += not self.has_served and not is_outage(failure.error)

    def _open(self, error: RequestError, now: float) -> None:
        self.is_open, self._changed_at = True, now
        for failure in self._undecided:
            failure.decide(counts=False)
        self._undecided.clear()
        self.line.stop(OutageBegan("outage", "the service is down"))
        facts = {"message": error.message} if error.message else {}
        log_event(
            log,
            logging.WARNING,
            "service.down",
            code=error.code,
            **facts,
            max_outage_s=round(self.timer.limit_s),
        )

    def _close(self, now: float) -> None:
        self.is_open, self._changed_at = False, now
        self.line = StopSwitch()
        log_event(log, logging.WARNING, "service.back", probes=self.probes)
        self.probes = 0


def _wrong_service(error: RequestError) -> ServiceRefused:
    return ServiceRefused(
        "no request is served",
        which="--url and --provider",
        found=describe(error),
        expected="scores",
        cure=CURES.get(error.status or 0, "check the address, and which provider it belongs to"),
    )
