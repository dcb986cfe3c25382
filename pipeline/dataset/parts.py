"""Collect rankings, which come in any order, into whole parts.

A part is a fixed range of groups. A ranking waits here until all before it have arrived, and is
then encoded with its piece. A slow group holds back its own part but not the next ones, as long as
not too much waits in open parts.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct, field

from pipeline.core.records import Ranking
from pipeline.output.part_encoding import PartEncoding
from pipeline.ranking.sort_batch import sort_rankings

_SORTED_AT_ONCE: Final = 128

_MANY_GROUPS: Final = 4_096
"""With more than these it takes more than about 10 ms to finish a part."""


class OpenPart(Struct, eq=False):
    """A part whose groups are being ranked.

    Attributes:
        encoding: Its files.
        next_group: Index of the first group that is not ranked.
        waiting: Rankings of groups after it, by group index.
        num_started: Groups that were enqueued.
        num_ranked: Groups that are ranked.
        num_candidates: Candidates of the groups that were enqueued.
        is_read: All groups of the part were enqueued.
        is_taken: A worker is encoding or writing it.
        begun_s: When it was opened, in seconds since 1970.
    """

    encoding: PartEncoding
    next_group: int
    waiting: dict[int, Ranking] = field(default_factory=dict)
    num_started: int = 0
    num_ranked: int = 0
    num_candidates: int = 0
    is_read: bool = False
    is_taken: bool = False
    begun_s: float = field(default_factory=time.time)

    @property
    def is_whole(self) -> bool:
        """Whether every group of the part is ranked."""
        return self.is_read and self.num_ranked == self.num_started

    @property
    def is_ready(self) -> bool:
        """Whether something can be encoded or written, and no worker does it yet."""
        return not self.is_taken and (self.encoding.pieces.has_complete or self.is_whole)

    @property
    def has_many_groups(self) -> bool:
        """Whether it must be finished in a thread."""
        return self.num_started > _MANY_GROUPS

    def add(self, ranking: Ranking) -> None:
        """Take the ranking of a group that was enqueued."""
        self.num_ranked += 1
        self.waiting[ranking.group.index] = ranking
        while (in_order := self.waiting.pop(self.next_group, None)) is not None:
            self.next_group += 1
            self.encoding.pieces.add(in_order)

    def encode(self, rankings: Sequence[Ranking]) -> None:
        """Sort the candidates of a piece, some rankings at a time, and encode them."""
        for start in range(0, len(rankings), _SORTED_AT_ONCE):
            sort_rankings(rankings[start : start + _SORTED_AT_ONCE])
        self.encoding.encode(rankings)


class PartAssembly:
    """The open parts, which together hold little more than the limits.

    One task opens parts and waits for room; any task frees and closes.

    Args:
        begin: Returns the files of a part, of which nothing is encoded yet.
        max_candidates: Candidates of the open parts.
        max_bytes: Bytes of passed-through strings that wait to be encoded; more than a piece of a
            part. Encoded parts that wait to be written may take as many.

    Attributes:
        waiting_bytes: Passed-through strings of groups in work or ranked that are not encoded.
    """

    def __init__(
        self, begin: Callable[[int], PartEncoding], *, max_candidates: int, max_bytes: int
    ) -> None:
        self._begin = begin
        self._max_candidates = max_candidates
        self._max_bytes = max_bytes
        self.waiting_bytes = 0
        self._open: dict[int, OpenPart] = {}
        self._freed = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether too many passed-through bytes wait to be encoded to start another group."""
        return self.waiting_bytes >= self._max_bytes

    async def open(self, index: int, first_group: int) -> OpenPart:
        """Open a part, which begins with a group; wait while the open ones hold too much.

        All groups of these must have been started.
        """
        while self._hold_too_much():
            await self._wait()
        part = self._open[index] = OpenPart(self._begin(index), first_group)
        return part

    async def wait_for_room(self) -> None:
        """Wait while the assembly is full."""
        while self.is_full:
            await self._wait()

    def free(self, passthrough_bytes: int) -> None:
        """Forget bytes that are encoded."""
        self.waiting_bytes -= passthrough_bytes
        self._freed.set()

    def close(self, index: int) -> None:
        """Forget a part that is written."""
        del self._open[index]
        self._freed.set()

    def _hold_too_much(self) -> bool:
        parts = self._open.values()
        return (
            sum(part.num_candidates for part in parts) >= self._max_candidates
            or sum(part.encoding.size_bytes for part in parts) >= self._max_bytes
        )

    async def _wait(self) -> None:
        self._freed.clear()
        await self._freed.wait()
