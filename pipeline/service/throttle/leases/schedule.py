"""The moments of all slots of a quota: an even pace, within every window of tokens.

All times are in seconds by the ledger's clock. Takers are not known here, only the share of the
quota that may be given out.
"""

from collections.abc import Iterable

from pipeline.service.throttle.leases.learned_rate import LearnedRate
from pipeline.service.throttle.leases.messages import Slot
from pipeline.service.throttle.leases.token_windows import TokenWindows

_USED_SHARE = 0.995
"""Used share of a rate: so windows of ten seconds stay within it although some slots are late."""
_CATCH_UP_S = 0.01
"""Seconds of idle time that are made up for."""
_MOST_CREDIT_S = 0.02
"""Seconds of the rate of tokens that are made up for when fewer were counted than expected."""
_SAME_S = 1e-6


class SlotSchedule:
    """Book slots, one after the other, at the rates as they are when each is booked.

    Args:
        requests: The rate of requests.
        tokens: The rate of tokens.

    Attributes:
        pause_until: No slot is before this moment.
    """

    def __init__(self, requests: LearnedRate, tokens: LearnedRate) -> None:
        self.pause_until = 0.0
        self._requests, self._tokens = requests, tokens
        self._windows = TokenWindows()
        self._holes: list[Slot] = []
        self._next_request = self._next_token = 0.0
        self._debt = 0.0

    @property
    def next_at(self) -> float:
        """The moment of the next slot, as far as windows of tokens have room."""
        return max(self._next_request, self._next_token, self.pause_until)

    def book(self, now: float, until: float, tokens: float, free: float) -> Slot | None:
        """Return the next slot for so many tokens; None if it is after `until`.

        Args:
            now: The time.
            until: The last moment that may be given out.
            tokens: The tokens to expect.
            free: The share of the quota that is given out, above 0 and up to 1.
        """
        until += _SAME_S
        for index, hole in enumerate(self._holes):
            if self.pause_until <= hole.at + _SAME_S and hole.at <= until and tokens <= hole.tokens:
                del self._holes[index]
                self._windows.correct(hole.at, tokens - hole.tokens)
                return Slot(hole.at, tokens)
        at = max(now, self.next_at)
        if self._tokens.current is not None:
            at = self._windows.earliest(at, tokens, free * self._tokens.current)
        if at > until:
            return None
        due = max(tokens + self._debt, 0.0)
        self._debt += tokens - due
        request_s, tokens_s = self.cost_s(due, free)
        earliest = at if at > now else now - _CATCH_UP_S
        self._next_request = max(self._next_request, earliest) + request_s
        self._next_token = max(self._next_token, earliest) + tokens_s
        if self._tokens.current is not None:
            self._windows.add(at, tokens)
        return Slot(at, tokens)

    def cost_s(self, tokens: float, free: float) -> tuple[float, float]:
        """Return the seconds of the schedule that a request takes, and that its tokens take."""
        requests, per_token = self._requests.current, self._tokens.current
        return (
            0.0 if requests is None else 1 / (requests * free * _USED_SHARE),
            0.0 if per_token is None else tokens / (per_token * free * _USED_SHARE),
        )

    def give_back(self, slots: Iterable[Slot]) -> None:
        """Take back unused slots; their moments are given to others."""
        self._holes += slots

    def drop_passed(self, now: float) -> None:
        """Forget the slots that were given back and whose moment has passed."""
        for hole in self._holes:
            if hole.at <= now:
                self.lapse(hole)
        self._holes = sorted(
            (hole for hole in self._holes if hole.at > now), key=lambda hole: hole.at
        )

    def lapse(self, slot: Slot) -> None:
        """Count no tokens for a slot whose moment passed unused."""
        self._windows.correct(slot.at, -slot.tokens)

    def correct(self, at: float, difference: float) -> None:
        """Adjust to the service's count, `difference` tokens above those of the slot at `at`."""
        self._windows.correct(at, difference)
        credit = -_MOST_CREDIT_S * (self._tokens.current or 0.0)
        self._debt = max(self._debt + difference, min(self._debt, credit))
