"""Parquet in: the candidates of a dataset as whole groups, in input order, bounded in memory."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import pyarrow as pa

from pipeline.core.groups import GroupBatch, Id
from pipeline.source.adjacency import count_whole_queries
from pipeline.source.group_assembler import GroupAssembler, find_starts
from pipeline.source.listing import InputFile, InputListing, list_input
from pipeline.source.pieces import BatchLimits, Piece, iter_pieces
from pipeline.source.row_spans import RowSpans
from pipeline.source.schema import InputSchema, Layout, resolve_schema

__all__ = [
    "BatchLimits",
    "InputFile",
    "InputListing",
    "InputSchema",
    "Piece",
    "Reading",
    "Source",
    "list_input",
]


class Source:
    """The candidates of one input; may be read any number of times.

    Rows count over all files, in the order of the listing. All methods block.

    Args:
        listing: The input's files.
        columns: The input column that plays a role, where it bears another name.
        layout: What a row is; `long`: one candidate.
        with_text: Whether the query and the text pass through to the output.
        duplicates: Whether a doc_id that occurs again in a group is kept.
        limits: How much is decoded at once.

    Raises:
        InputError: if the files' columns are not those of candidates.
        SettingsError: if `columns` names an unknown role.
    """

    def __init__(
        self,
        listing: InputListing,
        *,
        columns: Mapping[str, str] | None = None,
        layout: Layout = "auto",
        with_text: bool = False,
        duplicates: Literal["keep", "first"] = "keep",
        limits: BatchLimits | None = None,
    ) -> None:
        self.listing = listing
        self._drop_repeats = duplicates == "first"
        self._limits = limits or BatchLimits()
        self._all_adjacent = False
        self._schema = resolve_schema(
            listing.files, columns=columns or {}, layout=layout, with_text=with_text
        )

    @property
    def rows_schema(self) -> pa.Schema:
        """The columns of `GroupBatch.rows`."""
        return self._schema.rows_schema

    @property
    def output_schema(self) -> pa.Schema:
        """The columns of a part of the output."""
        return self._schema.output_schema

    def count_groups(self, stopped: Callable[[], bool] = lambda: False) -> int:
        """How many groups there are; reads the query ids of the whole input, nothing else.

        Then every query is known to be whole, and `Reading` keeps no ids any more.

        Args:
            stopped: Asked often whether to read no further, since the result is of no use.

        Raises:
            InputError: as `iter_batches`, for null ids and queries whose rows are not adjacent.
        """
        num_groups = count_whole_queries(lambda: self._iter_beginning(stopped))
        self._all_adjacent = not stopped()
        return num_groups

    def read(self, start_row: int = 0, *, finished: Iterable[tuple[int, int]] = ()) -> "Reading":
        """Begin to read whole groups; which groups does not depend on the limits.

        Of the rows before `start_row` and of those in `finished` only the query ids are read: it
        takes all ids before a group to know its index, and that no query comes twice. Files that
        hold no unfinished row and have none after them are not opened.

        Args:
            start_row: First row to read.
            finished: Ranges [start, stop) of rows that are not to be read. They begin and end
                with a group, and were read before this by a job that found no error in them.
        """
        spans = RowSpans([(0, start_row), *finished])
        groups = GroupAssembler(
            drop_repeats=self._drop_repeats, all_adjacent=lambda: self._all_adjacent
        )
        return Reading(self._iter_pieces(spans, spans.end_of_work(self.listing.num_rows)), groups)

    def iter_batches(
        self, start_row: int = 0, *, finished: Iterable[tuple[int, int]] = ()
    ) -> Iterator[GroupBatch]:
        """Yield what `read` reads.

        Raises:
            InputError, OutputMismatch: as `Reading` does.
        """
        reading = self.read(start_row, finished=finished)
        while (piece := reading.next_piece()) is not None:
            yield from reading.make_groups(piece)
        yield from reading.make_groups(None)

    def _iter_beginning(self, stopped: Callable[[], bool]) -> Iterator[tuple[str, list[Id]]]:
        """Yield file names, and the ids of the queries that begin there."""
        last_id: Id | None = None
        num_rows = self.listing.num_rows
        for piece in self._iter_pieces(RowSpans([(0, num_rows)]), num_rows):
            ids: Any = piece.batch.column(0)
            yield piece.file.location.name, ids.take(find_starts(ids, last_id)).to_pylist()
            last_id = ids[-1].as_py()
            if stopped():
                return

    def _iter_pieces(self, finished: RowSpans, stop_row: int) -> Iterator[Piece]:
        return iter_pieces(
            self.listing.files,
            self._schema,
            finished=finished,
            stop_row=stop_row,
            limits=self._limits,
        )


class Reading:
    """Groups in input order, in two steps: pieces are decoded and checked, and groups made of them.

    To decode the next piece waits for a file; to make groups waits for nothing.
    """

    def __init__(self, pieces: Iterator[Piece], groups: GroupAssembler) -> None:
        self._pieces = pieces
        self._groups = groups

    @property
    def open_rows(self) -> int:
        """Rows of the group that goes on in the next piece."""
        return self._groups.open_rows

    def next_piece(self) -> Piece | None:
        """The next rows; None at the end.

        Raises:
            InputError: for a file that breaks, a null id, and text that is not UTF-8.
        """
        return next(self._pieces, None)

    def make_groups(self, piece: Piece | None) -> list[GroupBatch]:
        """The groups that have ended with a piece; with None, the last one.

        Raises:
            InputError: for a group with two query texts, and a query whose rows are not adjacent.
            OutputMismatch: if the finished rows do not begin and end with a group.
        """
        return list(self._groups.add(piece) if piece is not None else self._groups.end())
