"""Tell an outage of the service from a failure of one request.

While nothing succeeds the circuit is open: failures cost no attempt, and one request at a time
probes whether the service is back. The first answer closes it, a refusal included.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable
from typing import Final

from msgspec import Struct

from pipeline.core.backoff import Backoff
from pipeline.core.errors import BadAnswer, OutageTooLong, RequestError, Throttled
from pipeline.core.events import log_event
from pipeline.service.failures import is_service_down

log = logging.getLogger(__name__)

PROBE_BACKOFF: Final = Backoff(first_s=1.0, cap_s=15.0)

_MAX_FAILURES: Final = 10
"""Failures in a row that are an outage, however many requests are asked at once."""

_MIN_REQUESTS: Final = 3
"""Different requests that must fail where each may be at fault itself."""


class CircuitSnapshot(Struct, frozen=True):
    """The state of a circuit breaker.

    Attributes:
        is_open: The service is down.
        failed_requests: Different requests that failed since the last success, until it opened.
        probes: Probes sent in this outage.
        trouble_s: Seconds since the first failure after the last success; 0 without one.
    """

    is_open: bool
    failed_requests: int
    probes: int
    trouble_s: float


class CircuitBreaker:
    """Learn from the outcome of every attempt.

    Args:
        max_outage_s: How long the service may serve nothing.
        clock: Seconds, never going back.
        probe_backoff: Waits before the probes of an outage.

    Attributes:
        is_open: The service is down.
        probe_lock: Held by the request that probes while the circuit is open.
    """

    def __init__(
        self,
        max_outage_s: float,
        clock: Callable[[], float],
        probe_backoff: Backoff = PROBE_BACKOFF,
    ) -> None:
        self._max_outage_s = max_outage_s
        self._clock = clock
        self._probe_backoff = probe_backoff
        self._failed: set[Hashable] = set()
        self._service_failures = 0
        self._trouble_since: float | None = None
        self._probes = 0
        self.is_open = False
        self.probe_lock = asyncio.Lock()

    def __repr__(self) -> str:
        state = self.snapshot()
        return (
            f"<CircuitBreaker {'open' if state.is_open else 'closed'}"
            f" failed_requests={state.failed_requests} probes={state.probes}"
            f" trouble_s={state.trouble_s:.1f}>"
        )

    def snapshot(self) -> CircuitSnapshot:
        """Return the present state."""
        since = self._trouble_since
        trouble_s = 0.0 if since is None else self._clock() - since
        return CircuitSnapshot(self.is_open, len(self._failed), self._probes, trouble_s)

    def next_wait_s(self) -> float:
        """Return the seconds that the next probe waits; each probe waits longer."""
        wait_s = self._probe_backoff.wait_s(self._probes)
        self._probes += 1
        return wait_s

    def record_success(self) -> None:
        """Record that the service did its work: scores, or a verdict on a request."""
        self._trouble_since = None
        if self._failed or self.is_open:
            self._close()

    def record_failure(
        self, request: Hashable, error: RequestError, *, concurrency: int, last: bool
    ) -> None:
        """Record an attempt without scores or verdict; open the circuit if that is an outage.

        Args:
            request: Any id of the request.
            error: How it failed.
            concurrency: Requests being asked; an outage is when all of them fail.
            last: The request has no attempt left, and nothing was served since its first failure.

        Raises:
            OutageTooLong: if nothing was served for longer than allowed.
        """
        if isinstance(error, BadAnswer):
            if self.is_open:
                self._close()  # it answers; whether rightly is for the attempts to find out
            return
        if self._trouble_since is None:
            self._trouble_since = self._clock()
        if isinstance(error, Throttled):
            self._close()
        elif not self.is_open:
            self._failed.add(request)
            is_down = is_service_down(error)
            self._service_failures += is_down
            enough = min(_MAX_FAILURES, concurrency)
            if (
                self._service_failures >= enough
                or len(self._failed) >= max(_MIN_REQUESTS, enough)
                or (last and is_down)
            ):
                self._open(error)
        self._check_duration(error)

    def _check_duration(self, error: RequestError) -> None:
        if self._trouble_since is None or not (self.is_open or isinstance(error, Throttled)):
            return
        trouble_s = self._clock() - self._trouble_since
        if trouble_s >= self._max_outage_s:
            raise OutageTooLong(
                f"the service served nothing for {trouble_s:.0f} s",
                which=error.code,
                expected=f"at most {self._max_outage_s:.0f} s of --max-outage",
                cure="run the same command again when it is back: what is paid is kept",
            ) from error

    def _open(self, error: RequestError) -> None:
        self.is_open = True
        log_event(
            log,
            logging.WARNING,
            "service.down",
            code=error.code,
            max_outage_s=round(self._max_outage_s),
        )

    def _close(self) -> None:
        if self.is_open:
            log_event(log, logging.WARNING, "service.back", probes=self._probes)
        self.is_open = False
        self._failed.clear()
        self._service_failures = self._probes = 0
