"""Log refusals of the service: one line for all of ten seconds."""

import logging
import math
from typing import Final

from pipeline.core.errors import Throttled
from pipeline.core.events import log_event
from pipeline.service.throttle.interface import Rate

_log = logging.getLogger(__name__)

_EVERY_S: Final = 10.0


class RefusalLog:
    """Count refusals, and log some of those that changed the pace."""

    def __init__(self) -> None:
        self._refused = 0
        self._next_line_at = -math.inf

    def record(
        self,
        now: float,
        error: Throttled,
        *,
        is_new: bool,
        requests: Rate,
        tokens: Rate,
        pause_s: float,
    ) -> None:
        """Count a refusal; log it if it changed the pace and no line was written just before.

        Args:
            now: When it arrived, by the clock of the event loop.
            error: The refusal.
            is_new: Whether it changed the pace.
            requests: The rate of requests after it.
            tokens: The rate of tokens after it.
            pause_s: The pause in seconds that it asks for.
        """
        self._refused += 1
        if not is_new or now < self._next_line_at:
            return
        log_event(
            _log,
            logging.WARNING,
            "pace.cut",
            limit=error.limit,
            code=error.code,
            refused=self._refused,
            granted_per_s=round(requests.granted_per_s(now), 1),
            requests_per_s=requests.current and round(requests.current, 1),
            tokens_per_s=tokens.current and round(tokens.current, 1),
            pause_s=round(pause_s, 2),
        )
        self._refused, self._next_line_at = 0, now + _EVERY_S
