"""The pause after a refusal, and the one request at a time that may follow it."""

import asyncio
from collections.abc import Callable
from typing import Final

from pipeline.core.backoff import Backoff
from pipeline.core.errors import Throttled
from pipeline.service.throttle.permit import ThrottlePermit

_BACKOFF: Final = Backoff(first_s=0.25, cap_s=60.0)
"""Pauses after refusals that ask for none."""

_SHORTEST_RETRY_AFTER_S: Final = 1.0
"""Where a service asks for a shorter pause, or for none, our own pauses apply."""

_LONGEST_RETRY_AFTER_S: Final = 600.0


class Pause:
    """Hold requests back after a refusal; for one waiter at a time.

    Attributes:
        until: When the pause ends, by the clock of the event loop.
        refusals_in_a_row: Refusals that said something new, since the last answer.
        probe: The only request that may be in flight while a rate is measured; None at other times.
    """

    def __init__(self) -> None:
        self.until = 0.0
        self.refusals_in_a_row = 0
        self.probe: ThrottlePermit | None = None
        self._probe_ended = asyncio.Event()

    async def wait(self, clock: Callable[[], float]) -> None:
        """Wait for the end of the pause, and of the probe that is in flight after it."""
        while True:
            while (wait_s := self.until - clock()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(wait_s)  # the pause may be prolonged
            if self.probe is None:
                return
            self._probe_ended.clear()
            await self._probe_ended.wait()

    def length_s(self, error: Throttled) -> float:
        """Return for how many seconds nothing should be sent after a refusal."""
        retry_after_s = error.retry_after_s or 0.0
        if retry_after_s < _SHORTEST_RETRY_AFTER_S:
            return max(retry_after_s, _BACKOFF.wait_s(self.refusals_in_a_row))
        return min(retry_after_s, _LONGEST_RETRY_AFTER_S)

    def begin(self, now: float, length_s: float, error: Throttled, *, is_new: bool) -> None:
        """Pause after a refusal that says something new, or that asks for a pause by itself."""
        if is_new or (error.retry_after_s or 0.0) >= _SHORTEST_RETRY_AFTER_S:
            self.until = max(self.until, now + length_s)
        if is_new:
            self.refusals_in_a_row += 1

    def end_probe(self) -> None:
        """Let the next request go."""
        self.probe = None
        self._probe_ended.set()
