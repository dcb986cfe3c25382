"""Rankings, in any order, to whole parts.

A part is a fixed range of groups. Its rankings wait here until the last one is there. A slow group
holds back its own part but not the next ones, as long as not too many candidates wait in open
parts.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field

from pipeline.core.records import Ranking
from pipeline.ranking.sort_batch import sort_rankings

_SORTED_AT_ONCE: Final = 128

_MANY_CANDIDATES: Final = 131_072
_MANY_GROUPS: Final = 4_096
_MANY_BYTES: Final = 4 << 20
"""With more than one of these a step of a part's encoding takes more than about 10 ms."""


class OpenPart(Struct, eq=False):
    """A part whose groups are being ranked.

    Attributes:
        index: The part's number.
        ranked: The rankings so far, by group index.
        num_started: Groups that were enqueued.
        num_candidates: Their candidates.
        passthrough_bytes: Bytes of their passed-through strings.
        is_read: All groups of the part were enqueued.
        begun_s: When it was opened, in seconds since 1970.
    """

    index: int
    ranked: dict[int, Ranking] = field(default_factory=dict)
    num_started: int = 0
    num_candidates: int = 0
    passthrough_bytes: int = 0
    is_read: bool = False
    begun_s: float = field(default_factory=time.time)

    @property
    def is_whole(self) -> bool:
        """Whether every group of the part is ranked."""
        return self.is_read and len(self.ranked) == self.num_started

    @property
    def is_large(self) -> bool:
        """Whether it must be encoded in a thread."""
        return (
            self.num_candidates > _MANY_CANDIDATES
            or self.num_started > _MANY_GROUPS
            or self.passthrough_bytes > _MANY_BYTES
        )

    def iter_in_order(self) -> Iterator[Ranking]:
        """Yield the rankings in input order; sort their candidates, some rankings at a time."""
        rankings = [self.ranked[index] for index in sorted(self.ranked)]
        for start in range(0, len(rankings), _SORTED_AT_ONCE):
            batch = rankings[start : start + _SORTED_AT_ONCE]
            sort_rankings(batch)
            yield from batch


class PartAssembly:
    """The open parts, which together hold about `max_candidates` candidates at most."""

    def __init__(self, *, max_candidates: int) -> None:
        self._max_candidates = max_candidates
        self._open: dict[int, OpenPart] = {}
        self._closed = asyncio.Event()

    async def open(self, index: int) -> OpenPart:
        """Open a part; wait while the open ones hold too many candidates."""
        while sum(part.num_candidates for part in self._open.values()) >= self._max_candidates:
            self._closed.clear()
            await self._closed.wait()
        part = self._open[index] = OpenPart(index)
        return part

    def close(self, index: int) -> None:
        """Forget a part that is written."""
        del self._open[index]
        self._closed.set()
