"""Whether the service is down: an outage is not a verdict on any request.

While nothing succeeds the circuit is open: failures cost no attempt, and one request at a time asks
whether the service is back. It closes with the first answer, be it a refusal.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable
from typing import Final

from pipeline.core.errors import BadAnswer, OutageTooLong, RequestError, Throttled, Transient

log = logging.getLogger(__name__)

UNREACHABLE: Final = "unreachable"
"""Code of a failure to connect at all."""

_SERVICE_DOWN: Final = frozenset({502, 503, 504})
"""Statuses that speak of the service; a 500 or a time-out may be the request's own fault."""

_MANY: Final = 10
"""Failures in a row that are an outage, however many requests are asked at once."""

_SEVERAL: Final = 3
"""Different requests that must fail, where each might be at fault itself."""

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 15.0
_MOST_DOUBLINGS: Final = 10


class CircuitBreaker:
    """Learns from the outcome of every attempt.

    Args:
        max_outage_s: How long the service may serve nothing.
        clock: Seconds, never going back.

    Attributes:
        is_open: The service is down.
        turn: Held by the request that probes, while the circuit is open.
    """

    def __init__(self, max_outage_s: float, clock: Callable[[], float]) -> None:
        self._max_outage_s = max_outage_s
        self._clock = clock
        self._failed: set[Hashable] = set()
        self._failures_of_service = 0
        self._troubled_since: float | None = None
        self._probes = 0
        self.is_open = False
        self.turn = asyncio.Lock()

    def next_wait_s(self) -> float:
        """How long the next probe waits: twice as long as the one before."""
        doublings = min(self._probes, _MOST_DOUBLINGS)  # an outage may be long, a float is not
        wait_s = min(_FIRST_WAIT_S * 2.0**doublings, _LONGEST_WAIT_S)
        self._probes += 1
        return wait_s

    def served(self) -> None:
        """Note that the service did its work: scores, or a verdict on a request."""
        self._troubled_since = None
        if self._failed or self.is_open:
            self._close()

    def failed(
        self, request: Hashable, error: RequestError, *, asked_at_once: int, last: bool
    ) -> None:
        """Note that an attempt got neither scores nor a verdict; opens the circuit in an outage.

        Args:
            request: What was asked, by any name of it.
            error: How it failed.
            asked_at_once: How many requests are being asked; all of them failing is an outage.
            last: The request has no attempt left, and nothing was served since its first failure.

        Raises:
            OutageTooLong: if nothing was served for longer than allowed.
        """
        if isinstance(error, BadAnswer):
            if self.is_open:
                self._close()  # it answers; whether rightly is for the attempts to find out
            return
        if self._troubled_since is None:
            self._troubled_since = self._clock()
        if isinstance(error, Throttled):
            self._close()
        elif not self.is_open:
            self._failed.add(request)
            of_service = _is_of_service(error)
            self._failures_of_service += of_service
            enough = min(_MANY, asked_at_once)
            if (
                self._failures_of_service >= enough
                or len(self._failed) >= max(_SEVERAL, enough)
                or (last and of_service)
            ):
                self._open(error)
        self._check_duration(error)

    def _check_duration(self, error: RequestError) -> None:
        if self._troubled_since is None or not (self.is_open or isinstance(error, Throttled)):
            return
        trouble_s = self._clock() - self._troubled_since
        if trouble_s >= self._max_outage_s:
            raise OutageTooLong(
                f"the service served nothing for {trouble_s:.0f} s",
                which=error.code,
                expected=f"at most {self._max_outage_s:.0f} s of --max-outage",
                cure="run the same command again when it is back: what is paid is kept",
            ) from error

    def _open(self, error: RequestError) -> None:
        self.is_open = True
        log.warning(
            "service.down code=%s waits_up_to_s=%.0f probes=one_at_a_time",
            *(error.code, self._max_outage_s),
        )

    def _close(self) -> None:
        if self.is_open:
            log.warning("service.back probes=%d", self._probes)
        self.is_open = False
        self._failed.clear()
        self._failures_of_service = self._probes = 0


def _is_of_service(error: RequestError) -> bool:
    is_down = error.status in _SERVICE_DOWN or error.code == UNREACHABLE
    return isinstance(error, Transient) and is_down
