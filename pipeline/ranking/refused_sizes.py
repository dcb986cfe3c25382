"""The sizes of requests that the service refused, so that no such request is sent again.

A remembered size must not change the outcome, since a resumed run does not have it. So only certain
refusals are predicted: whether the service limits documents, tokens or bytes of a request, it also
refuses a request that is at least as large as a refused one in every respect.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from msgspec import Struct, field

MAX_REMEMBERED: Final = 64


class RequestSize(NamedTuple):
    """How large a request is; a lower or an upper bound."""

    documents: int
    tokens: int
    bytes: int

    def reaches(self, other: "RequestSize") -> bool:
        """Return whether this is at least as large as the other in every respect."""
        return all(mine >= others for mine, others in zip(self, other, strict=True))


def _ignore() -> None:
    """Count nothing."""


class RefusedSizes(Struct, eq=False):
    """The refused sizes of a run, at most 64 of them.

    Attributes:
        on_refusal: Called for each request that the service refused for its size.
    """

    on_refusal: Callable[[], None] = _ignore
    _sizes: list[RequestSize] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._sizes)

    def learn(self, at_most: RequestSize) -> None:
        """Remember a refused request; no single document of it may have been the cause.

        Args:
            at_most: Upper bound of its size.
        """
        if not self.cover(at_most):
            smallest = [size for size in self._sizes if not size.reaches(at_most)]
            self._sizes = [at_most, *smallest][:MAX_REMEMBERED]

    def cover(self, at_least: RequestSize) -> bool:
        """Return whether a request would be refused too.

        Args:
            at_least: Lower bound of its size.
        """
        return any(at_least.reaches(size) for size in self._sizes)
