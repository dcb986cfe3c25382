"""The sizes of requests that the service refused, so that such requests are not sent again.

What a run remembers must not change its outcome, which a resumed run repeats without it. So only
the certain is foretold: whatever the service limits, documents, tokens or bytes of a request, one
that is in no respect smaller than a refused one is refused too.
"""

from typing import Final, NamedTuple

from msgspec import Struct, field

MAX_REMEMBERED: Final = 64


class RequestSize(NamedTuple):
    """How large a request is, at least or at most."""

    documents: int
    tokens: int
    bytes: int

    def reaches(self, other: "RequestSize") -> bool:
        """Whether this is in no respect smaller than the other."""
        return all(mine >= others for mine, others in zip(self, other, strict=True))


class RefusedSizes(Struct, eq=False):
    """What a run learned about the size of requests; at most 64 sizes are kept.

    Attributes:
        num_refused: Requests that were refused for their size.
    """

    num_refused: int = 0
    _sizes: list[RequestSize] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self._sizes)

    def learn(self, at_most: RequestSize) -> None:
        """Remember a refused request, of which it is known that no single document was to blame."""
        if not self.cover(at_most):
            smallest = [size for size in self._sizes if not size.reaches(at_most)]
            self._sizes = [at_most, *smallest][:MAX_REMEMBERED]

    def cover(self, at_least: RequestSize) -> bool:
        """Whether a request of at least this size would be refused too."""
        return any(at_least.reaches(size) for size in self._sizes)
