"""Log requests that take more tokens than a minute's quota: one line for all of them."""

import logging
from typing import Final

from pipeline.core.events import log_event
from pipeline.service.throttle.interface import Rate

_log = logging.getLogger(__name__)

_MINUTE_S: Final = 60.0


class LongWaitLog:
    """Log the first request that must wait for more than a minute by itself."""

    def __init__(self) -> None:
        self._is_told = False

    def record(self, tokens: float, rate: Rate) -> None:
        """Log a request of so many tokens if the rate lets fewer pass in a minute."""
        per_s = rate.current
        if self._is_told or per_s is None or tokens <= _MINUTE_S * per_s:
            return
        self._is_told = True
        log_event(
            _log,
            logging.WARNING,
            "pace.long_wait",
            tokens=round(tokens),
            tokens_per_minute=round(_MINUTE_S * per_s, 1),
            wait_s=round(tokens / per_s),
        )
