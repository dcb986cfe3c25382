"""Measure how long a service has served nothing, and give up when that is too long."""

import asyncio
from collections.abc import Callable
from typing import Final

from pipeline.core.errors import OutageTooLong, RequestError, RerankError
from pipeline.service.failures import describe, is_reached

_SHARE_OF_REST: Final = 0.9
"""Largest share of the time left that a wait may take; then another attempt still fits."""

_SHORTEST_TIMER_S: Final = 0.05


class OutageTimer:
    """Runs from the first failure or 429 after a success until the next success.

    Args:
        max_outage_s: How long nothing may be served.
        clock: Seconds, never going back; it may stand still while nothing is meant to be sent.
        max_unreached_s: The same while no connection was ever opened; None for no other limit.

    Attributes:
        on_give_up: Called with the error once that time is over.
    """

    def __init__(
        self,
        max_outage_s: float,
        clock: Callable[[], float],
        *,
        max_unreached_s: float | None = None,
    ) -> None:
        self.on_give_up: set[Callable[[RerankError], None]] = set()
        self._max_outage_s = max_outage_s
        self._max_unreached_s = max_unreached_s
        self._clock = clock
        self._was_reached = False
        self._since: float | None = None
        self._last_error: RequestError | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first failure; 0 while requests are served."""
        return 0.0 if self._since is None else self._clock() - self._since

    @property
    def limit_s(self) -> float:
        """How long nothing may be served, as far as is known now."""
        if self._was_reached or self._max_unreached_s is None:
            return self._max_outage_s
        return self._max_unreached_s

    def record_failure(self, error: RequestError, took_s: float = 0.0) -> None:
        """Record a failure or a 429.

        Args:
            error: The failure.
            took_s: How long the attempt took; an attempt to connect counts as a whole.
        """
        self._last_error = error
        self._was_reached = self._was_reached or is_reached(error)
        if self._since is None:
            self._since = self._clock() - (0.0 if self._was_reached else took_s)
            self._set_timer()

    def record_success(self) -> None:
        """Record that a request got its scores."""
        self._was_reached = True
        self._since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def cut(self, wait_s: float) -> float:
        """Return a wait that the service asks for, cut to leave time for another attempt."""
        return min(wait_s, _SHARE_OF_REST * max(self.limit_s - self.elapsed_s, 0.0))

    def _set_timer(self) -> None:
        left_s = max(self.limit_s - self.elapsed_s, _SHORTEST_TIMER_S)
        self._timer = asyncio.get_running_loop().call_later(left_s, self._expire)

    def _expire(self) -> None:
        assert self._last_error is not None
        if self.elapsed_s < self.limit_s:
            self._set_timer()  # the clock stood still, or the service was reached meanwhile
            return
        error = self._error(self._last_error)
        error.__cause__ = self._last_error
        for give_up in list(self.on_give_up):
            give_up(error)

    def _error(self, last: RequestError) -> OutageTooLong:
        if not self._was_reached:
            return OutageTooLong(
                f"the service could not be reached for {self.elapsed_s:.0f} s",
                found=last.message,
                cure="check --url and the network, or run the same command again later;"
                " --max-outage sets how long to wait",
            )
        return OutageTooLong(
            f"the service served nothing for {self.elapsed_s:.0f} s",
            found=describe(last),
            expected=f"at most {self.limit_s:.0f} s of --max-outage",
            cure="run the same command again when it is back: what is paid is kept",
        )
