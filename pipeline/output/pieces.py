"""Cut the rankings of a part into pieces, each encoded together as a row group of its file.

A part may hold the texts of all its candidates. Only those of one piece are in memory, and some
copies of them while it is encoded.
"""

from collections import deque
from typing import Final

from msgspec import Struct, field

from pipeline.core.records import Ranking

_MANY_CANDIDATES: Final = 131_072
_MANY_GROUPS: Final = 4_096
_MANY_BYTES: Final = 2 << 20


class PieceLimits(Struct, frozen=True):
    """Limits of a piece; changing these changes outputs.

    Attributes:
        max_rows: Candidates.
        max_bytes: Bytes of passed-through strings (texts included, with `--with-text`).
    """

    max_rows: int = 32_768
    max_bytes: int = 4 << 20


class RankedPiece(Struct, eq=False):
    """Rankings of a part, in input order.

    Attributes:
        rankings: At least one.
        num_candidates: Of their groups.
        num_bytes: Passed-through strings of their groups.
    """

    rankings: list[Ranking] = field(default_factory=list)
    num_candidates: int = 0
    num_bytes: int = 0

    @property
    def takes_long(self) -> bool:
        """Whether it takes more than about 10 ms to encode."""
        return (
            len(self.rankings) > _MANY_GROUPS
            or self.num_candidates > _MANY_CANDIDATES
            or self.num_bytes > _MANY_BYTES
        )


class PieceQueue:
    """Cuts the rankings of a part into pieces, which wait here to be encoded.

    A piece ends with the query with which it reaches a limit, so the pieces depend on the input
    alone.
    """

    def __init__(self, limits: PieceLimits) -> None:
        self._limits = limits
        self._complete: deque[RankedPiece] = deque()
        self._open = RankedPiece()

    def add(self, ranking: Ranking) -> None:
        """Take the next ranking, in input order."""
        piece, limits = self._open, self._limits
        piece.rankings.append(ranking)
        piece.num_candidates += ranking.group.num_candidates
        piece.num_bytes += ranking.group.passthrough_bytes
        if piece.num_candidates >= limits.max_rows or piece.num_bytes >= limits.max_bytes:
            self._complete.append(piece)
            self._open = RankedPiece()

    @property
    def has_complete(self) -> bool:
        """Whether a piece is complete."""
        return bool(self._complete)

    def take(self, *, at_end: bool) -> RankedPiece | None:
        """Return the next complete piece; at the end of the part also the last, smaller one."""
        if self._complete:
            return self._complete.popleft()
        if not at_end or not self._open.rankings:
            return None
        piece, self._open = self._open, RankedPiece()
        return piece
