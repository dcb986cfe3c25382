"""Exponential back-off: how long to wait before trying again."""

import random
from typing import Final

from msgspec import Struct

_MAX_DOUBLINGS: Final = 64
"""An outage may be long; the exponent of a float is not."""


class Backoff(Struct, frozen=True):
    """Waits that double from `first_s` up to `cap_s` seconds.

    Attributes:
        first_s: The first wait.
        cap_s: The longest wait.
        jitter: Whether to wait for a random part of that time, from none to all of it, so that
            requests that failed together do not return together ("full jitter",
            aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter, 2015).
    """

    first_s: float
    cap_s: float
    jitter: bool = False

    def wait_s(self, earlier_waits: int) -> float:
        """Return the seconds to wait after so many earlier waits: first_s * 2**earlier_waits."""
        wait_s = min(self.first_s * 2.0 ** min(earlier_waits, _MAX_DOUBLINGS), self.cap_s)
        return wait_s * random.random() if self.jitter else wait_s
