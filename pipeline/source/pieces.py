"""Read the rows of an input in pieces, in file order and in bounded memory.

Only the query ids of finished rows are decoded.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from pipeline.core.errors import InputError
from pipeline.source.arrow import Array, one_chunk
from pipeline.source.batch_reader import BatchLimits, BatchReader, leaves_of, runs_of
from pipeline.source.decoded_rows import DecodedIds, DecodedRows
from pipeline.source.input_file import InputFile
from pipeline.source.row_decoder import RowDecoder
from pipeline.source.row_spans import RowSpans
from pipeline.source.schema import InputSchema


class Piece(Struct, frozen=True, eq=False):
    """Adjacent rows of one file.

    Attributes:
        file: Where they come from.
        first_row: The first of them, counted over all files from 0.
        query_ids: One per row.
        rows: All that the rows hold; None for finished rows, of which nothing else is decoded.
    """

    file: InputFile
    first_row: int
    query_ids: Array
    rows: DecodedRows | None

    @property
    def num_rows(self) -> int:
        """How many input rows there are."""
        return len(self.query_ids)

    def slice(self, num_rows: int) -> "Piece":
        """Return the first rows, or the piece itself if it has no more."""
        if num_rows >= self.num_rows:
            return self
        rows = self.rows and self.rows.slice(0, num_rows)
        return Piece(self.file, self.first_row, self.query_ids.slice(0, num_rows), rows)

    @property
    def num_candidates(self) -> int:
        """How many candidates are decoded."""
        return 0 if self.rows is None else self.rows.num_candidates

    @property
    def finished(self) -> bool:
        """Whether the rows are finished: an earlier run has written them to the output."""
        return self.rows is None


class IdPiece(Struct, frozen=True, eq=False):
    """Adjacent rows of one file, of which only the ids are decoded.

    Attributes:
        file: Where they come from.
        first_row: The first of them, counted over all files from 0.
        ids: Those of the rows and of their candidates.
    """

    file: InputFile
    first_row: int
    ids: DecodedIds

    @property
    def query_ids(self) -> Array:
        """One per row."""
        return self.ids.query_ids

    def slice(self, num_rows: int) -> "IdPiece":
        """Return the first rows, or the piece itself if it has no more."""
        if num_rows >= len(self.query_ids):
            return self
        return IdPiece(self.file, self.first_row, self.ids.head(num_rows))


def id_piece(piece: Piece) -> IdPiece:
    """Return the ids of rows that are decoded."""
    assert piece.rows is not None
    doc_ids = one_chunk(piece.rows.candidates.column("doc_id"))
    ids = DecodedIds(piece.query_ids, piece.rows.offsets, doc_ids)
    return IdPiece(piece.file, piece.first_row, ids)


def iter_pieces(
    files: Sequence[InputFile],
    schema: InputSchema,
    *,
    finished: RowSpans,
    stop_row: int,
    limits: BatchLimits,
) -> Iterator[Piece]:
    """Yield the rows of all files in order, up to the end of the file that holds `stop_row`.

    Raises:
        InputError: for a file that breaks, a null id or rank, and text that is not UTF-8.
    """
    for file, first_row in _with_rows(files, stop_row):
        yield from _iter_file(file, first_row, schema, finished, limits)


def iter_ids(
    files: Sequence[InputFile], schema: InputSchema, *, stop_row: int, limits: BatchLimits
) -> Iterator[IdPiece]:
    """Yield the ids of all rows in order, up to the end of the file that holds `stop_row`.

    Raises:
        InputError: for a file that breaks, a null id or rank, and an id that is not UTF-8.
    """
    few_bytes = schema.layout.rows_are_candidates
    for file, first_row in _with_rows(files, stop_row):
        decoder, row = RowDecoder(file, schema), first_row
        with file.open() as opened:
            leaves = leaves_of(opened.parquet)
            wanted, batches = decoder.leaves_of_ids(leaves), BatchReader(opened.parquet, limits)
            for run, _ in runs_of(opened.parquet, first_row, RowSpans(), limits.max_run_rows):
                for batch in batches.iter_run(run, wanted, few_bytes=few_bytes):
                    opened.refuse_changes()
                    yield IdPiece(file, row, decoder.ids(batch, row - first_row))
                    row += batch.num_rows
            _refuse_lost_rows(file, row - first_row)


def _with_rows(files: Sequence[InputFile], stop_row: int) -> Iterator[tuple[InputFile, int]]:
    """Yield the files that have rows, with the first row of each counted over all files."""
    first_row = 0
    for file in files:
        if first_row >= stop_row:
            return
        if file.num_rows:
            yield file, first_row
        first_row += file.num_rows


def _iter_file(
    file: InputFile,
    first_row: int,
    schema: InputSchema,
    finished: RowSpans,
    limits: BatchLimits,
) -> Iterator[Piece]:
    decoder, row = RowDecoder(file, schema), first_row
    with file.open() as opened:
        batches = BatchReader(opened.parquet, limits)
        for run, ids_only in runs_of(opened.parquet, first_row, finished, limits.max_run_rows):
            wanted = decoder.id_columns if ids_only else None
            for batch in batches.iter_run(run, wanted, few_bytes=ids_only):
                opened.refuse_changes()
                for start, stop, is_finished in finished.split(row, row + batch.num_rows):
                    part = batch.slice(start - row, stop - start)
                    if is_finished:
                        query_ids, rows = decoder.query_ids(part, start - first_row), None
                    else:
                        rows = decoder.decode(part, start - first_row)
                        query_ids = rows.query_ids
                    yield Piece(file, start, query_ids, rows)
                row += batch.num_rows
        _refuse_lost_rows(file, row - first_row)


def _refuse_lost_rows(file: InputFile, num_rows: int) -> None:
    if num_rows != file.num_rows:
        raise InputError(
            "not all rows can be read",
            which=file.location.name,
            found=num_rows,
            expected=file.num_rows,
            cure="write or copy the file again",
        )
