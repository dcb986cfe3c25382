"""The interface of a throttle for the client, wherever the quota comes from."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from pipeline.core.content import Content
from pipeline.core.errors import Throttled
from pipeline.core.settings import Pace
from pipeline.service.throttle.sliding_window import SlidingWindow


class Permit(Protocol):
    """The right to have one request in flight; a context manager that ends it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def answered(self, total_tokens: int | None) -> None:
        """Report that the service served the request, and the tokens that it counted."""

    def throttled(self, error: Throttled) -> None:
        """Report that the service asked for a slower pace."""


class Admission(Protocol):
    """Admits requests, in order of arrival, within the limits of one service and account."""

    @property
    def target_concurrency(self) -> int:
        """How many requests may be in flight at most."""

    @property
    def paused_s(self) -> float:
        """For how many seconds the operator's pauses lasted so far."""

    async def admit(self, documents: int, tokens: int, texts: Sequence[Content] = ()) -> Permit:
        """Wait until a request may be sent, and return its permit.

        Args:
            documents: Documents in the request.
            tokens: Upper bound of its tokens.
            texts: The documents, from which to estimate how much of the bound the service will
                count.
        """
        ...

    def set_pace(self, pace: Pace) -> None:
        """Change the limits from now on."""


class Rate(Protocol):
    """The rate of one limit, as it is configured or was learned."""

    @property
    def current(self) -> float | None:
        """Units a second; None if no limit is known."""

    @property
    def version(self) -> int:
        """Changes with each refusal that says something new."""

    @property
    def is_measuring(self) -> bool:
        """Whether one request at a time should be sent until one is served."""

    def granted_per_s(self, now: float) -> float:
        """Return what was granted in the last second."""

    def record_refusal(
        self,
        now: float,
        amount: float,
        version: int,
        *,
        pause_s: float,
        for_growth: bool = False,
    ) -> bool:
        """Learn from a refusal; return whether it says something new."""


class RateLimit(Protocol):
    """One limit, of requests or of tokens, of this process alone or of several; see `Quota`."""

    @property
    def configured(self) -> float | None:
        """The rate that this process may use, in units a second; None if nothing is known."""

    @property
    def rate(self) -> Rate:
        """The rate in use."""

    @property
    def windows(self) -> Sequence[SlidingWindow]:
        """Sliding windows that must have room as well."""

    def set(self, per_minute: float | None) -> None:
        """Change what is configured."""

    def has_room(self, now: float, amount: float) -> bool:
        """Return whether `amount` fits the windows now."""

    def is_ample(self, now: float, amount: float) -> bool:
        """Return whether estimates do not matter."""

    def enter(self, now: float, amount: float) -> Sequence[Any]:
        """Count `amount` as sent; return entries for `correct`."""

    def try_acquire(self, amount: float) -> bool:
        """Take `amount` if that needs no waiting; return whether."""

    async def acquire(self, amount: float) -> None:
        """Wait until `amount` may pass."""

    def release(self, amount: float) -> None:
        """Undo an acquisition that was not used."""

    def record_wait(self, now: float) -> None:
        """Record that a request had to wait."""

    def record_success(self, now: float, amount: float, version: int) -> None:
        """Learn from an answer."""

    def correct(self, entries: Sequence[Any], difference: float) -> None:
        """Adjust to the service's count."""
