"""Whole groups from pieces of any size: the groups do not depend on where the pieces were cut."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import IntArray
from pipeline.core.errors import OutputMismatch, shorten
from pipeline.core.groups import GroupBatch, Id
from pipeline.source.adjacency import SeenIds, not_adjacent
from pipeline.source.group_batch import make_group_batch
from pipeline.source.pieces import Piece


class GroupAssembler:
    """Joins what pieces cut apart, and counts the groups.

    Args:
        drop_repeats: Whether a doc_id that occurs again in a group is dropped.
        all_adjacent: Tells whether it is known that no query comes back: then no ids are kept.

    Attributes:
        num_groups: Groups that have begun, finished ones included.
    """

    def __init__(
        self, *, drop_repeats: bool, all_adjacent: Callable[[], bool] = lambda: False
    ) -> None:
        self.num_groups = 0
        self._drop_repeats = drop_repeats
        self._all_adjacent = all_adjacent
        self._seen = SeenIds()
        self._last_id: Id | None = None
        self._last_finished = False
        self._open: list[pa.RecordBatch] = []  # the pieces of the group that has not ended
        self._open_row = 0

    @property
    def open_rows(self) -> int:
        """Rows of the group that has not ended."""
        return sum(len(batch) for batch in self._open)

    def add(self, piece: Piece) -> Iterator[GroupBatch]:
        """Take the next piece; yield the groups that have ended, but no finished ones.

        The groups that lie within a piece share its memory. One that goes on from an earlier piece
        is copied together, with the others of its last piece where they are not much less: few
        large batches cost less than many.

        Raises:
            InputError: if a query comes back after another one, or has two query texts.
            OutputMismatch: if finished rows do not begin and end with a query.
        """
        batch = piece.batch
        starts = self._find_starts(piece, batch)
        if piece.finished:
            yield from self.end()
        elif not len(starts):
            self._open.append(batch)
        else:
            yield from self._cut(batch, piece.first_row, starts)
        self.num_groups += len(starts)
        self._last_id = batch.column(0)[-1].as_py()
        self._last_finished = piece.finished

    def end(self) -> Iterator[GroupBatch]:
        """Yield the group that is open, if there is one: no more of it will come."""
        if self._open:
            yield self._make(self._open, np.zeros(1, np.int64), self.num_groups - 1, self._open_row)
        self._open = []

    def _cut(self, batch: pa.RecordBatch, batch_row: int, starts: IntArray) -> Iterator[GroupBatch]:
        """Yield the open group and the whole ones; the last one stays open."""
        first, last = int(starts[0]), int(starts[-1])
        if first > 0:
            self._open.append(batch.slice(0, first))
        open_rows = self.open_rows
        whole, whole_starts = batch.slice(first, last - first), starts[:-1] - first
        if 0 < open_rows <= len(whole):
            joined = np.append(0, whole_starts + open_rows)
            yield self._make([*self._open, whole], joined, self.num_groups - 1, self._open_row)
        else:
            yield from self.end()
            if len(whole):
                first_row = batch_row + first
                yield self._make([whole], whole_starts, self.num_groups, first_row)
        self._open = [batch.slice(last)]
        self._open_row = batch_row + last

    def _make(
        self, pieces: list[pa.RecordBatch], starts: IntArray, first_group: int, first_row: int
    ) -> GroupBatch:
        return make_group_batch(
            pieces,
            starts,
            first_group=first_group,
            first_row=first_row,
            drop_repeats=self._drop_repeats,
        )

    def _find_starts(self, piece: Piece, batch: pa.RecordBatch) -> IntArray:
        """Where in a piece the id is another than in the row before."""
        ids = batch.column(0)
        starts = find_starts(ids, self._last_id)
        goes_on = not len(starts) or starts[0] > 0
        if goes_on and piece.finished is not self._last_finished:
            raise OutputMismatch(
                "a part of the output ends within a query",
                which=f"query_id {shorten(repr(self._last_id), 100)}",
                cure="the input has changed: use --restart or another OUTPUT",
            )
        if self._all_adjacent():
            self._seen = SeenIds()
        else:
            self._refuse_returning(ids.take(starts).to_pylist(), piece.file.location.name)
        return starts

    def _refuse_returning(self, new_ids: Any, file_name: str) -> None:
        again = self._seen.add(new_ids)
        if again is not None:
            raise not_adjacent(file_name, again)


def find_starts(ids: "pa.Array[Any]", last_id: Id | None) -> IntArray:
    """Where the id is another than in the row before; `last_id` is that before the first row."""
    starts = np.flatnonzero(pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))) + 1
    return np.append(0, starts) if ids[0].as_py() != last_id else starts
