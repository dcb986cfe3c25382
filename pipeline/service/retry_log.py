"""Log retries: one line every ten seconds with their number, not a line for each."""

import logging
from collections import Counter
from collections.abc import Callable

from pipeline.core.events import log_event

_LOG_EVERY_S = 10.0

log = logging.getLogger(__name__)


class RetryLog:
    """Counts retries, and logs the first one at once and the later ones together.

    Those that are not logged by the end of a run are in its totals.

    Args:
        clock: Seconds; any start.
        every_s: Between two lines.
    """

    def __init__(self, clock: Callable[[], float], every_s: float = _LOG_EVERY_S) -> None:
        self._clock = clock
        self._every_s = every_s
        self._log_from = float("-inf")
        self._codes: Counter[str] = Counter()
        self._longest_wait_s = 0.0

    def add(self, code: str, wait_s: float) -> None:
        """Count a retry.

        Args:
            code: Why the attempt before it failed.
            wait_s: Until it is made.
        """
        self._codes[code] += 1
        self._longest_wait_s = max(self._longest_wait_s, wait_s)
        now = self._clock()
        if now < self._log_from:
            return
        log_event(
            log,
            logging.WARNING,
            "request.retried",
            retries=self._codes.total(),
            codes=dict(self._codes),
            longest_wait_s=round(self._longest_wait_s, 1),
        )
        self._log_from = now + self._every_s
        self._codes.clear()
        self._longest_wait_s = 0.0
