"""The right to have one request in flight, and what its outcome tells the throttle."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from msgspec import Struct

from pipeline.core.errors import Throttled
from pipeline.service.throttle.sliding_window import Entry


class Grants(Protocol):
    """Whoever hands out leases, and learns from them."""

    def released(self, permit: "Permit") -> None:
        """The request is no longer in flight."""

    def answered(self, permit: "Permit", total_tokens: int | None) -> None:
        """The service served it, and counted so many tokens."""

    def throttled(self, permit: "Permit", error: Throttled) -> None:
        """The service asked for a slower pace."""


class Permit(Struct, eq=False):
    """The right to have one request in flight; a context manager that gives the slot back.

    Attributes:
        limits: Who granted it.
        documents: Documents in the request.
        tokens: Upper bound of its tokens.
        estimate: What its tokens are expected to be.
        entries: Where it stands in the windows of tokens.
        versions: Of the rates of requests and tokens, and of the slots, that it was admitted under.
    """

    limits: Grants
    documents: int
    tokens: int
    estimate: float
    entries: Sequence[Entry]
    versions: tuple[int, int, int]

    def __enter__(self) -> "Permit":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.limits.released(self)

    def answered(self, total_tokens: int | None) -> None:
        """Tell that the service served the request, and what it counted."""
        self.limits.answered(self, total_tokens)

    def throttled(self, error: Throttled) -> None:
        """Tell that the service asked for a slower pace."""
        self.limits.throttled(self, error)
