"""Retry reads and writes of a place that fails for a while.

An object store may ask to slow down (503 SlowDown) or be out of reach, and space may be freed on a
full disk. Data to be written stays in memory meanwhile.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from msgspec import Struct

from pipeline.core.backoff import Backoff
from pipeline.core.errors import OutputFailed
from pipeline.core.events import log_event

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

STORAGE_BACKOFF: Final = Backoff(first_s=0.5, cap_s=10.0)


class Patience(Struct, frozen=True, kw_only=True):
    """How long to retry.

    Attributes:
        max_outage_s: Seconds for which a place may fail.
        backoff: Waits between two tries.
    """

    max_outage_s: float = 600.0
    backoff: Backoff = STORAGE_BACKOFF


class Failures:
    """Failures of a place in a row.

    Args:
        patience: For how many seconds they are tolerated.
        clock: Seconds, never going back.
    """

    def __init__(self, patience: Patience, clock: Callable[[], float]) -> None:
        self._patience = patience
        self._clock = clock
        self._since: float | None = None
        self._num_waits = 0

    def next_wait_s(self, error: OutputFailed) -> float:
        """Count a failure, log it, and return the seconds to wait before another try.

        Raises:
            OutputFailed: the same failure, if it has lasted too long.
        """
        now, patience = self._clock(), self._patience
        self._since = now if self._since is None else self._since
        failed_s, wait_s = now - self._since, patience.backoff.wait_s(self._num_waits)
        if failed_s + wait_s > patience.max_outage_s:
            raise OutputFailed(
                error.what,
                which=error.which,
                found=f"failures for {failed_s:.0f} s",
                expected=f"at most {patience.max_outage_s:.0f} s of --max-outage",
                cure=error.cure,
            ) from error
        self._num_waits += 1
        log_event(
            _log, logging.WARNING, "storage.failed", error=str(error), retry_in_s=round(wait_s, 1)
        )
        return wait_s

    def end(self) -> None:
        """Record that the place works again."""
        if self._since is not None:
            failed_s = round(self._clock() - self._since, 1)
            log_event(_log, logging.WARNING, "storage.back", failed_s=failed_s)
        self._since, self._num_waits = None, 0


async def insist(
    act: Callable[[], Awaitable[Result]],
    patience: Patience,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Result:
    """Return what `act` returns; try again as long as it raises OutputFailed.

    Args:
        act: Must be safe to repeat, whatever it has done before it failed.
        patience: How long to retry.
        sleep: Waits between two tries.

    Raises:
        OutputFailed: if it failed for longer than allowed.
    """
    failures = Failures(patience, asyncio.get_running_loop().time)
    while True:
        try:
            result = await act()
        except OutputFailed as error:
            wait_s = failures.next_wait_s(error)
        else:
            failures.end()
            return result
        await sleep(wait_s)
