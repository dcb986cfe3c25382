"""An input: its files, its columns, and ways to read its candidates as whole groups."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from typing import Literal

import pyarrow as pa
from msgspec import Struct

from pipeline.core.arrays import IntArray
from pipeline.core.groups import GroupBatch, Id
from pipeline.source.adjacency import count_queries, find_starts, take_ids
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.group_assembler import GroupAssembler
from pipeline.source.group_batch import is_string
from pipeline.source.input_rows import InputRows
from pipeline.source.layouts import choose_layout
from pipeline.source.layouts.layout import LayoutFactory
from pipeline.source.listing import InputListing
from pipeline.source.pieces import IdPiece, Piece
from pipeline.source.reading import Reading
from pipeline.source.repeated_ids import RepeatedIds
from pipeline.source.roles import MEDIA_ROLES
from pipeline.source.row_spans import RowSpans
from pipeline.source.schema import resolve_schema


class CheckedIds(Struct, frozen=True):
    """The result of a check of an input's ids.

    Attributes:
        num_groups: Its queries.
        num_repeated: Candidates whose doc_id occurs earlier in their query.
    """

    num_groups: int
    num_repeated: int


class Source:
    """The candidates of one input; may be read any number of times.

    A position in the input is a row, counted over all files in the order of the listing; the layout
    decides how many candidates a row holds. All methods block.

    Args:
        listing: The input's files.
        columns: The input column that plays a role, where it has another name.
        layout: How rows hold candidates: the name of a layout, `auto`, or a layout's factory.
        with_text: Whether the query and the text pass through to the output.
        duplicates: Whether a doc_id that occurs again in a group is kept.
        elsewhere: Roles whose values are not in the files.
        max_queries: Read only so many queries, the first ones.
        media: Whether columns may hold images and videos to be scored.
        with_media: Whether these only pass through, unchecked.
        limits: How much is decoded at once.

    Attributes:
        num_rows: How many rows are read.

    Raises:
        InputError: if the files' columns are not those of candidates.
        SettingsError: if `columns` names an unknown role, or `layout` an unknown layout.
    """

    def __init__(
        self,
        listing: InputListing,
        *,
        columns: Mapping[str, str] | None = None,
        layout: str | LayoutFactory = "auto",
        with_text: bool = False,
        duplicates: Literal["keep", "first"] = "keep",
        elsewhere: Collection[str] = (),
        max_queries: int | None = None,
        media: bool = False,
        with_media: bool = False,
        limits: BatchLimits | None = None,
    ) -> None:
        self.listing = listing
        self._drop_repeats = duplicates == "first"
        self._all_adjacent = False
        columns, files = columns or {}, listing.typed_files
        self._layout = choose_layout(layout, columns, files, media=media)
        self._schema = resolve_schema(
            files,
            self._layout,
            columns=columns,
            with_text=with_text,
            elsewhere=elsewhere,
            media=media,
            with_media=with_media,
        )
        self._rows = InputRows(listing, self._schema, limits or BatchLimits(), max_queries)
        self.num_rows = self._rows.num_rows

    @property
    def candidate_schema(self) -> pa.Schema:
        """The columns of `GroupBatch.candidates`."""
        return self._schema.candidate_schema

    @property
    def output_schema(self) -> pa.Schema:
        """The columns of a part of the output."""
        return self._schema.output_schema

    @property
    def widened(self) -> Mapping[str, pa.DataType]:
        """The columns of a part whose types differ in the files, with the type of the part."""
        return self._schema.widened

    @property
    def roles(self) -> Set[str]:
        """The roles that the input has a column for."""
        return self._schema.sources.keys()

    @property
    def may_hold_media(self) -> bool:
        """Whether there are columns of images or videos."""
        return not self.roles.isdisjoint(MEDIA_ROLES)

    @property
    def layout_found(self) -> str:
        """A description of the rows of the input."""
        return self._layout.found

    @property
    def rows_are_candidates(self) -> bool:
        """Whether every row of the input is one candidate."""
        return self._layout.rows_are_candidates

    @property
    def num_candidates(self) -> int | None:
        """How many candidates the input has; None if only its rows can tell."""
        return self.num_rows if self.rows_are_candidates else None

    def count_groups(self, stopped: Callable[[], bool] = lambda: False) -> int:
        """Return how many groups there are; read only the query ids of the whole input.

        Afterwards the rows of every query are known to be adjacent, and a `Reading` keeps no ids.

        Args:
            stopped: Asked often whether to read no further, since the result is not wanted.

        Raises:
            InputError: as `iter_batches`, for null ids and queries whose rows are not adjacent.
        """
        num_groups = count_queries(lambda: self._iter_starts(self.iter_query_ids(), stopped))
        self._all_adjacent = not stopped()
        return num_groups

    @property
    def ids_tell_sizes(self) -> bool:
        """Whether a group's candidates and passed-through bytes follow from the query ids alone."""
        return (
            self.rows_are_candidates
            and not self._drop_repeats
            and not any(is_string(field.type) for field in list(self.candidate_schema)[2:])
        )

    def iter_first_rows(self) -> Iterator[IntArray]:
        """Yield the first row of each group, some at a time; only the query ids are read.

        Raises:
            InputError: for a file that breaks, and an id that is null or not UTF-8.
        """
        last_id: Id | None = None
        for piece in self.iter_query_ids():
            yield find_starts(piece.query_ids, last_id) + piece.first_row
            last_id = piece.query_ids[-1].as_py()

    def check_ids(self, stopped: Callable[[], bool] = lambda: False) -> CheckedIds:
        """Count groups, as `count_groups`, and repeated ids; reads ids and ranks.

        An input that may hold images is read whole, up to `BatchLimits.max_checked_bytes`, so that
        a path in place of a URL is found before anything is paid.

        Raises:
            InputError: as `iter_batches`, but for texts.
        """
        repeated = RepeatedIds()
        passes: Iterator[Iterable[Piece | IdPiece]] = iter(
            (_counted(self._rows.iter_ids(), repeated), self.iter_query_ids())
        )
        num_groups = count_queries(lambda: self._iter_starts(next(passes), stopped))
        self._all_adjacent = not stopped()
        return CheckedIds(num_groups, repeated.end())

    def read(self, start_row: int = 0, *, finished: Iterable[tuple[int, int]] = ()) -> Reading:
        """Begin to read whole groups; the groups do not depend on the limits.

        For the rows before `start_row` and those in `finished`, only the query ids are read: the
        index of a group, and the check that no query comes twice, need all ids before it. Files
        that hold no unfinished row and have none after them are not opened.

        Args:
            start_row: The first row to read.
            finished: Ranges [start, stop) of rows that are not to be read. They begin and end
                with a group, and were read before by a job that found no error in them.
        """
        groups = GroupAssembler(
            self.listing.locate_row,
            drop_repeats=self._drop_repeats,
            all_adjacent=lambda: self._all_adjacent,
        )
        return Reading(self._rows.iter_pieces(RowSpans([(0, start_row), *finished])), groups)

    def iter_pieces(self) -> Iterator[Piece]:
        """Yield all rows, whether or not those of a query are adjacent.

        Raises:
            InputError: for a file that breaks, a null id or rank, and text that is not UTF-8.
        """
        return self._rows.iter_pieces()

    def iter_query_ids(self) -> Iterator[Piece]:
        """Yield all rows, of which only the query ids are read.

        Raises:
            InputError: for a file that breaks, and an id that is null or not UTF-8.
        """
        return self._rows.iter_query_ids()

    def iter_batches(
        self, start_row: int = 0, *, finished: Iterable[tuple[int, int]] = ()
    ) -> Iterator[GroupBatch]:
        """Yield the groups that `read` reads.

        Raises:
            InputError, OutputMismatch: as `Reading` does.
        """
        return self.read(start_row, finished=finished).iter_batches()

    def _iter_starts(
        self, pieces: Iterable[Piece | IdPiece], stopped: Callable[[], bool]
    ) -> Iterator[tuple[str, list[Id]]]:
        """Yield file names, and the ids of the queries that begin there."""
        last_id: Id | None = None
        for piece in pieces:
            starts = find_starts(piece.query_ids, last_id)
            yield piece.file.location.name, take_ids(piece.query_ids, starts)
            last_id = piece.query_ids[-1].as_py()
            if stopped():
                return


def _counted(pieces: Iterable[IdPiece], repeated: RepeatedIds) -> Iterator[IdPiece]:
    """Yield the pieces, and count the ids that are repeated."""
    for piece in pieces:
        repeated.add(piece.ids)
        yield piece
