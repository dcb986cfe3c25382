"""A rate, spread evenly over time: no burst at the start, no loss to late wake-ups.

A leaky bucket as large as the quota of a minute lets twice that quota through in its first minute.
A bucket of capacity 1 spaces requests exactly, but loses the time by which each wake-up is late: an
event loop is about 1 ms late, a tenth of the 11 ms between two requests at 90 a second. So the
bucket holds one grain and a little more, the catch-up. In any window of T seconds,
ceil(0.995 x rate x T + catch-up) units pass, or one amount more where amounts exceed one unit.

A high rate is taken from the bucket in pieces of 5 ms, because asking the bucket for each request
would cost as much CPU as sending it. So up to 10 ms worth of such a rate may pass earlier than unit
by unit.
"""

from typing import Final

from aiolimiter import AsyncLimiter

_SHARE: Final = 0.995
"""Share of the rate that is used: with catch-up, windows of ten seconds and more stay within it."""

_CATCH_UP_S: Final = 0.020
"""Lateness in seconds that is made up for: with the share above, at most 2.5 % over in a second."""

_SLOW_CATCH_UP_S: Final = 0.005
"""The same for slow rates, where one request more in a second would be over 5 %."""

_SLOW: Final = 20.0

_PIECE_S: Final = 0.005


class Pacer:
    """Let `rate` units a second pass, evenly; for one waiter at a time.

    Args:
        rate: Units in a second.
        grain: The amount that passes at once. Larger amounts pass in pieces of it, so that any
            amount can pass, and none before its time.
    """

    def __init__(self, rate: float, *, grain: float = 1.0) -> None:
        catch_up_s = _CATCH_UP_S if rate >= _SLOW * grain else _SLOW_CATCH_UP_S
        self.rate = rate
        self._piece = rate * _PIECE_S
        self._grain = max(grain, self._piece)
        capacity = self._grain + rate * catch_up_s
        self._in_hand = 0.0
        self._limiter = AsyncLimiter(capacity, capacity / (rate * _SHARE))

    def try_acquire(self, amount: float) -> bool:
        """Take `amount` from the piece in hand; return False if too little of it is left."""
        if amount > self._in_hand:
            return False
        self._in_hand -= amount
        return True

    async def acquire(self, amount: float) -> None:
        """Wait until `amount` units may pass."""
        if self.try_acquire(amount):
            return
        missing = max(amount - self._in_hand, self._piece)
        left = missing
        while left > self._grain:
            await self._limiter.acquire(self._grain)
            left -= self._grain
        await self._limiter.acquire(left)
        self._in_hand += missing - amount
