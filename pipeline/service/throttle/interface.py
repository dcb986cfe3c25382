"""What the client needs of a throttle, wherever the quota comes from."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from pipeline.core.content import Content
from pipeline.core.errors import Throttled
from pipeline.core.settings import Pace


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
            texts: The documents, which tell how much of the bound the service will count.
        """
        ...

    def set_pace(self, pace: Pace) -> None:
        """Change the limits from now on."""
