"""Retry reads of an object store that answered before: for code that may block.

A store that never answered fails at once, since its address may be wrong. One that did answer may
be down for a while, or ask to slow down (503 SlowDown).
"""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from pipeline.core.errors import OutputFailed
from pipeline.storage.errors import ChangedObject, StoreError, is_lasting
from pipeline.storage.retries import Failures, Patience

Result = TypeVar("Result")

_LOOK_S: Final = 0.1
"""How often a wait checks whether it must end."""


class PatientReads:
    """Calls functions that read, and retries them if they fail; threads may share it.

    Args:
        patience: How long to retry.
        is_stopped: Whether nobody waits for the result any more.
        clock: Seconds, never going back.
        sleep: Waits.
    """

    def __init__(
        self,
        patience: Patience,
        is_stopped: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._patience = patience
        self._is_stopped = is_stopped
        self._clock = clock
        self._sleep = sleep
        self._has_answered = False

    def __call__(self, read: Callable[[], Result], name: str) -> Result:
        """Return what `read` returns.

        Args:
            read: May be called several times.
            name: What is read, for the logs.

        Raises:
            OSError: as `read` does, if it fails for too long or for good.
        """
        failures = Failures(self._patience, self._clock)
        while True:
            try:
                result = read()
            except StoreError as error:
                if not self._has_answered or _is_final(error) or self._is_stopped():
                    raise
                try:
                    wait_s = failures.next_wait_s(
                        OutputFailed(f"cannot be read: {error}", which=name)
                    )
                except OutputFailed:
                    raise error from None
                self._wait(wait_s)
            else:
                self._has_answered = True
                failures.end()
                return result

    def _wait(self, wait_s: float) -> None:
        until = self._clock() + wait_s
        while (left_s := until - self._clock()) > 0 and not self._is_stopped():
            self._sleep(min(left_s, _LOOK_S))


def _is_final(error: StoreError) -> bool:
    return is_lasting(error) or isinstance(error, ChangedObject)


def read_once(read: Callable[[], Result], name: str) -> Result:
    """Return what `read` returns; do not retry."""
    return read()
