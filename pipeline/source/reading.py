"""Read an input once, in two steps: read pieces, then make groups of them."""

from collections.abc import Iterator

from pipeline.core.groups import GroupBatch
from pipeline.source.group_assembler import GroupAssembler
from pipeline.source.pieces import Piece


class Reading:
    """Whole groups in input order; to be used once.

    The two steps are apart so that a thread can wait for files while groups are made elsewhere:
    `next_piece` waits for a disk or a network and decodes, `make_groups` waits for nothing.

    Args:
        pieces: The input's rows in order.
        groups: Has taken no piece yet.
    """

    def __init__(self, pieces: Iterator[Piece], groups: GroupAssembler) -> None:
        self._pieces = pieces
        self._groups = groups

    @property
    def open_candidates(self) -> int:
        """Candidates of the group that goes on in the next piece."""
        return self._groups.open_candidates

    def next_piece(self) -> Piece | None:
        """Return the next rows, checked; None at the end.

        Raises:
            InputError: for a file that breaks, a null id or rank, and text that is not UTF-8.
        """
        return next(self._pieces, None)

    def make_groups(self, piece: Piece | None) -> list[GroupBatch]:
        """Return the groups that have ended with a piece; with None, the last one.

        Raises:
            InputError: for a group with two query texts, and a query whose rows are not adjacent.
            OutputMismatch: if the finished rows do not begin and end with a group.
        """
        return list(self._groups.add(piece) if piece is not None else self._groups.end())

    def iter_batches(self) -> Iterator[GroupBatch]:
        """Yield all groups, both steps in turn.

        Raises:
            InputError, OutputMismatch: as the two steps do.
        """
        while (piece := self.next_piece()) is not None:
            yield from self.make_groups(piece)
        yield from self.make_groups(None)
