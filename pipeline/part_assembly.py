"""Rankings, in whatever order they are done, to whole parts.

A part is a fixed range of groups. Its rankings wait here until the last of them is there. A slow
group holds back its own part, not the reading of the next ones, as long as not too many candidates
wait in open parts.
"""

import asyncio

from msgspec import Struct, field

from pipeline.plain_groups import Ranked, rank_plain_groups
from pipeline.records import Ranking


class OpenPart(Struct, eq=False):
    """A part whose groups are being ranked.

    Attributes:
        index: The part's number.
        ranked: What is done, by group index.
        num_started: Groups that were started.
        is_read: All groups of the part were started.
    """

    index: int
    ranked: dict[int, Ranked] = field(default_factory=dict)
    num_started: int = 0
    num_candidates: int = 0
    is_read: bool = False

    @property
    def is_whole(self) -> bool:
        """Every group of the part is ranked."""
        return self.is_read and len(self.ranked) == self.num_started

    def in_order(self) -> list[Ranking]:
        """The rankings in input order; sorts what is not in order yet."""
        return rank_plain_groups([self.ranked[index] for index in sorted(self.ranked)])


class PartAssembly:
    """The open parts; opening another waits while they hold `max_candidates` or more."""

    def __init__(self, *, max_candidates: int) -> None:
        self._max_candidates = max_candidates
        self._open: set[OpenPart] = set()
        self._closed = asyncio.Event()

    async def open(self, index: int) -> OpenPart:
        """Open a part, once there is room for it."""
        while sum(part.num_candidates for part in self._open) >= self._max_candidates:
            self._closed.clear()
            await self._closed.wait()
        part = OpenPart(index)
        self._open.add(part)
        return part

    def close(self, part: OpenPart) -> None:
        """Forget a part, which is written."""
        self._open.remove(part)
        self._closed.set()
