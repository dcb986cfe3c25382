"""The rows of one input, or those of its first queries, in pieces; all of them or their ids."""

from collections.abc import Iterator
from typing import TypeVar

from pipeline.core.groups import Id
from pipeline.source.adjacency import find_starts
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.listing import InputListing
from pipeline.source.pieces import IdPiece, Piece, id_piece, iter_ids, iter_pieces
from pipeline.source.row_spans import RowSpans
from pipeline.source.schema import InputSchema

_AnyPiece = TypeVar("_AnyPiece", Piece, IdPiece)


class InputRows:
    """Read the rows of an input, any number of times; all methods block.

    Args:
        listing: The input's files.
        schema: Their columns.
        limits: How much is decoded at once.
        max_queries: Read only so many queries, the first ones.

    Attributes:
        num_rows: How many rows are read.

    Raises:
        InputError: if the query ids must be read to find the last row, and that fails.
    """

    def __init__(
        self,
        listing: InputListing,
        schema: InputSchema,
        limits: BatchLimits,
        max_queries: int | None = None,
    ) -> None:
        self.num_rows = listing.num_rows
        self._listing = listing
        self._schema = schema
        self._limits = limits
        if max_queries is not None:
            self.num_rows = self._first_row_after(max_queries)

    def iter_pieces(self, finished: RowSpans | None = None) -> Iterator[Piece]:
        """Yield all rows, whether or not those of a query are adjacent.

        Args:
            finished: Rows of which only the query ids are read. Files that hold no unfinished row
                and have none after them are not opened.

        Raises:
            InputError: for a file that breaks, a null id or rank, and text that is not UTF-8.
        """
        finished = finished or RowSpans()
        return self._iter_pieces(finished, finished.end_of_work(self.num_rows))

    def iter_query_ids(self) -> Iterator[Piece]:
        """Yield all rows, of which only the query ids are read.

        Raises:
            InputError: for a file that breaks, and an id that is null or not UTF-8.
        """
        return self._iter_pieces(RowSpans([(0, self.num_rows)]), self.num_rows)

    def iter_ids(self) -> Iterator[IdPiece]:
        """Yield the ids of all rows.

        Images and videos are checked on the way, if the input is not too large for that.

        Raises:
            InputError: for a file that breaks, a null id or rank, and an id that is not UTF-8.
        """
        size_bytes = sum(file.state.info.size_bytes or 0 for file in self._listing.files)
        if self._schema.media and size_bytes <= self._limits.max_checked_bytes:
            return map(id_piece, self.iter_pieces())
        ids = iter_ids(
            self._listing.files, self._schema, stop_row=self.num_rows, limits=self._limits
        )
        return self._until_end(ids)

    def _first_row_after(self, max_queries: int) -> int:
        """Return the row where the query after the first ones begins, or the number of rows."""
        last_id: Id | None = None
        left = max_queries
        for piece in self.iter_query_ids():
            starts = find_starts(piece.query_ids, last_id)
            if len(starts) > left:
                return piece.first_row + int(starts[left])
            left -= len(starts)
            last_id = piece.query_ids[-1].as_py()
        return self.num_rows

    def _iter_pieces(self, finished: RowSpans, stop_row: int) -> Iterator[Piece]:
        pieces = iter_pieces(
            self._listing.files,
            self._schema,
            finished=finished,
            stop_row=stop_row,
            limits=self._limits,
        )
        return self._until_end(pieces)

    def _until_end(self, pieces: Iterator[_AnyPiece]) -> Iterator[_AnyPiece]:
        if self.num_rows == self._listing.num_rows:
            yield from pieces
            return
        for piece in pieces:
            if piece.first_row >= self.num_rows:
                return
            yield piece.slice(self.num_rows - piece.first_row)
