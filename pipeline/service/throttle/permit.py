"""The permit of a `Throttle`, which reports the outcome of its request."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from msgspec import Struct

from pipeline.core.errors import Throttled
from pipeline.service.throttle.text_kind import TextKind


class PermitOwner(Protocol):
    """Grants permits, and learns from their outcomes."""

    def released(self, permit: "ThrottlePermit") -> None:
        """Learn that the request is no longer in flight."""

    def answered(self, permit: "ThrottlePermit", total_tokens: int | None) -> None:
        """Learn that the service served it, and the tokens that it counted."""

    def throttled(self, permit: "ThrottlePermit", error: Throttled) -> None:
        """Learn that the service asked for a slower pace."""


class ThrottlePermit(Struct, eq=False):
    """The right to have one request in flight; a context manager that gives its place back.

    Attributes:
        owner: Who granted it.
        documents: Documents in the request.
        tokens: Upper bound of its tokens.
        kind: Of its texts.
        estimate: The tokens that the service is expected to count.
        entries: Its entries in the windows of tokens.
        versions: Of the rate of requests, the rate of tokens and the concurrency window that it was
            admitted under.
    """

    owner: PermitOwner
    documents: int
    tokens: int
    kind: TextKind
    estimate: float
    entries: Sequence[Any]
    versions: tuple[int, int, int]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.owner.released(self)

    def answered(self, total_tokens: int | None) -> None:
        """Report that the service served the request, and the tokens that it counted."""
        self.owner.answered(self, total_tokens)

    def throttled(self, error: Throttled) -> None:
        """Report that the service asked for a slower pace."""
        self.owner.throttled(self, error)
