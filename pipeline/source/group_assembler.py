"""Whole groups from pieces of any size; which groups does not depend on where pieces are cut."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from pipeline.core.arrays import IntArray
from pipeline.core.errors import OutputMismatch, shorten
from pipeline.core.groups import GroupBatch, Id
from pipeline.source.adjacency import SeenIds, find_starts, not_adjacent, take_ids
from pipeline.source.decoded_rows import DecodedRows
from pipeline.source.group_batch import LocateRow, make_group_batch
from pipeline.source.pieces import Piece
from pipeline.tokens.text_buffers import text_offsets

_COPIED_BYTES: Final = 512 << 10
"""Texts of small groups that are planned with one that pieces cut apart, and copied for that: to
plan it alone would cost more."""

_FEW_GROUPS: Final = 8
"""So few groups in a piece are large. They are planned in a thread, best all in one call."""


class GroupAssembler:
    """Joins the rows of a query, which pieces may cut apart, and counts the groups.

    Args:
        locate_row: Returns the file of an input row and the row's number in it, for messages.
        drop_repeats: Whether a doc_id that occurs again in a group is dropped.
        all_adjacent: Returns whether the rows of every query are known to be adjacent; then no ids
            are kept.

    Attributes:
        num_groups: Groups that have begun, finished ones included.
    """

    def __init__(
        self,
        locate_row: LocateRow,
        *,
        drop_repeats: bool,
        all_adjacent: Callable[[], bool] = lambda: False,
    ) -> None:
        self.num_groups = 0
        self._locate_row = locate_row
        self._drop_repeats = drop_repeats
        self._all_adjacent = all_adjacent
        self._seen = SeenIds()
        self._last_id: Id | None = None
        self._last_finished = False
        self._open: list[DecodedRows] = []  # of the group that has not ended
        self._open_row = 0

    @property
    def open_candidates(self) -> int:
        """Candidates of the group that has not ended."""
        return sum(rows.num_candidates for rows in self._open)

    def add(self, piece: Piece) -> Iterator[GroupBatch]:
        """Take the next piece; yield the groups that have ended, but no finished ones.

        The groups that lie within a piece share its memory. A group that goes on from an earlier
        piece is copied, together with those next to it if these are small, or few.

        Raises:
            InputError: if a query comes back after another one, or has two query texts.
            OutputMismatch: if finished rows do not begin and end with a group.
        """
        starts = self._find_starts(piece)
        if piece.rows is None:
            yield from self.end()
        elif not len(starts):
            self._open.append(piece.rows)
        else:
            yield from self._cut(piece.rows, piece.first_row, starts)
        self.num_groups += len(starts)
        self._last_id = piece.query_ids[-1].as_py()
        self._last_finished = piece.finished

    def end(self) -> Iterator[GroupBatch]:
        """Yield the open group, if there is one: no more rows of it will come."""
        if self._open:
            yield self._make(self._open, np.zeros(1, np.int64), self.num_groups - 1, self._open_row)
        self._open = []

    def _cut(self, rows: DecodedRows, first_row: int, starts: IntArray) -> Iterator[GroupBatch]:
        """Yield the open group and the whole ones; the last one stays open."""
        first, last = int(starts[0]), int(starts[-1])
        if first > 0:
            self._open.append(rows.slice(0, first))
        whole, borders = rows.slice(first, last), starts - first
        num_beside = self._num_beside(whole, borders) if self._open else 0
        border = int(borders[num_beside])
        if num_beside:
            self._open.append(whole.slice(0, border))
            joined = borders[:num_beside] + sum(rows.num_rows for rows in self._open[:-1])
            yield self._make(self._open, np.append(0, joined), self.num_groups - 1, self._open_row)
        else:
            yield from self.end()
        if border < whole.num_rows:
            rest, rest_starts = whole.slice(border, last - first), borders[num_beside:-1] - border
            first_group = self.num_groups + num_beside
            yield self._make([rest], rest_starts, first_group, first_row + first + border)
        self._open = [rows.slice(last, rows.num_rows)]
        self._open_row = first_row + last

    def _num_beside(self, whole: DecodedRows, borders: IntArray) -> int:
        """Return how many of the whole groups are copied and planned with the open one.

        Args:
            whole: Their rows.
            borders: The row where each begins, and the end of the last.
        """
        num_groups = len(borders) - 1
        if num_groups <= _FEW_GROUPS and self.open_candidates <= whole.num_candidates:
            return num_groups
        ends = text_offsets(whole.texts)[whole.offsets[borders[1:]]]
        return int(np.searchsorted(ends, _COPIED_BYTES, "right"))

    def _make(
        self, pieces: list[DecodedRows], starts: IntArray, first_group: int, first_row: int
    ) -> GroupBatch:
        return make_group_batch(
            pieces,
            starts,
            first_group=first_group,
            first_row=first_row,
            drop_repeats=self._drop_repeats,
            locate_row=self._locate_row,
        )

    def _find_starts(self, piece: Piece) -> IntArray:
        """Return the rows of a piece where a group begins."""
        starts = find_starts(piece.query_ids, self._last_id)
        goes_on = not len(starts) or starts[0] > 0
        if goes_on and piece.finished is not self._last_finished:
            raise OutputMismatch(
                "a part of the output ends in the middle of a query",
                which=f"query_id {shorten(repr(self._last_id), 100)}",
                cure="the input has changed: use --restart or another OUTPUT",
            )
        if self._all_adjacent():
            self._seen = SeenIds()
            return starts
        repeated = self._seen.add(take_ids(piece.query_ids, starts))
        if repeated is not None:
            raise not_adjacent(piece.file.location.name, repeated)
        return starts
