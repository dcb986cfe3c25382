"""Measure what requests wait for, and how much of the offered quota is used."""

from typing import Final, Literal, TypeAlias

from pipeline.service.metrics import QuotaUse

WAITED_S: Final = 0.000_1
"""A longer time is a wait, not a computation."""

_Cause: TypeAlias = Literal["requests_s", "tokens_s", "pause_s"]


class QuotaMeter:
    """Count waits and admissions, for one waiter at a time; all times are the event loop's.

    Args:
        use: Where they are counted.

    Attributes:
        full_since: Since when all places in flight have been taken and not yet counted; None while
            one is free.
    """

    def __init__(self, use: QuotaUse) -> None:
        self.use = use
        self.full_since: float | None = None
        self._waiting_for: _Cause | None = None
        self._waiting_since = 0.0
        self._last_admission: float | None = None

    def begin_wait(self, cause: _Cause, now: float) -> None:
        """Count a wait for `cause` from now on."""
        self._waiting_for, self._waiting_since = cause, now

    def book_wait(self, now: float) -> float:
        """Count what the waiter has waited for since that was counted last; return `now`."""
        waited_s, self._waiting_since = now - self._waiting_since, now
        if self._waiting_for is not None and waited_s > WAITED_S:
            waits = self.use.waits
            setattr(waits, self._waiting_for, getattr(waits, self._waiting_for) + waited_s)
        return now

    def end_wait(self) -> None:
        """Count no wait from now on."""
        self._waiting_for = None

    def book_full(self, now: float) -> None:
        """Count for how long all places in flight have been taken."""
        if self.full_since is not None:
            self.use.waits.in_flight_s += now - self.full_since
            self.full_since = now

    def count_admission(
        self, now: float, requests_per_s: float | None, tokens_per_s: float | None
    ) -> None:
        """Count what the quota took, and could have taken, since the last admission.

        Args:
            now: When the request is admitted.
            requests_per_s: The configured quota; None if none is known.
            tokens_per_s: The same for tokens.
        """
        use, last = self.use, self._last_admission
        self._last_admission = now
        if last is None:
            return
        use.admitted_s += now - last
        if requests_per_s is not None:
            use.requests_used += 1
            use.requests_offered += (now - last) * requests_per_s
        if tokens_per_s is not None:
            use.tokens_offered += (now - last) * tokens_per_s

    def forget_last_admission(self) -> None:
        """Leave out the time until the next admission: the quota was not offered in it."""
        self._last_admission = None
