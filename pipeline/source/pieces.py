"""The rows of an input in pieces, in file order and in bounded memory.

A file is read in runs of row groups, and a run in record batches of at most `max_rows` rows; rows
with much data make smaller batches. Of finished rows only the query ids are decoded.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from pipeline.core.errors import InputError
from pipeline.source.arrow import Array
from pipeline.source.column_types import has_nested_dictionary
from pipeline.source.decoded_rows import DecodedRows
from pipeline.source.footer_nulls import NEVER_NULL
from pipeline.source.input_file import InputFile
from pipeline.source.row_decoder import RowDecoder
from pipeline.source.row_spans import RowSpans
from pipeline.source.schema import InputSchema

_PROBE_ROWS = 32


class BatchLimits(Struct, frozen=True, kw_only=True):
    """How much is decoded at once; the groups that come out do not depend on it.

    Attributes:
        max_rows: Input rows of a batch; more of them are no faster, and take memory.
        max_bytes: Decoded bytes of a batch, as far as the footer and earlier rows foretell.
        max_id_rows: Input rows of a batch of which only the query ids are decoded.
        max_run_rows: Input rows of the row groups that are read as one run.
    """

    max_rows: int = 8_192
    max_bytes: int = 2 << 20
    max_id_rows: int = 16_384
    max_run_rows: int = 131_072


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
    first_row = 0
    for file in files:
        if first_row >= stop_row:
            return
        if file.num_rows:
            yield from _iter_file(file, first_row, schema, finished, limits)
        first_row += file.num_rows


def refuse_nulls(file: InputFile, schema: InputSchema, limits: BatchLimits) -> None:
    """Read the row groups that hold a null where there must be none, by the file's footer.

    Raises:
        InputError: naming the row of the null.
    """
    sources = [schema.sources[role] for role in NEVER_NULL if role in schema.sources]
    decoder = RowDecoder(file, schema)
    for group in {file.nulls[source] for source in sources if source in file.nulls}:
        row = group.first_row
        with file.open() as opened:
            for batch in _BatchReader(opened.parquet, limits).iter_run([group.index], None):
                decoder.decode(batch, row)
                row += batch.num_rows


def _iter_file(
    file: InputFile,
    first_row: int,
    schema: InputSchema,
    finished: RowSpans,
    limits: BatchLimits,
) -> Iterator[Piece]:
    decoder = RowDecoder(file, schema)
    row = first_row
    with file.open() as opened:
        batches, metadata = _BatchReader(opened.parquet, limits), opened.parquet.metadata
        max_rows = 0 if has_nested_dictionary(opened.parquet.schema_arrow) else limits.max_run_rows
        for run, ids_only in _runs(metadata, first_row, finished, max_rows):
            for batch in batches.iter_run(run, decoder.id_columns if ids_only else None):
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
        if row - first_row != file.num_rows:
            raise InputError(
                "not all rows can be read",
                which=file.location.name,
                found=row - first_row,
                expected=file.num_rows,
                cure="write or copy the file again",
            )


def _runs(
    metadata: pq.FileMetaData, row: int, finished: RowSpans, max_run_rows: int
) -> Iterator[tuple[list[int], bool]]:
    """Yield runs of neighbouring row groups, and whether all rows of a run are finished.

    A run has at most `max_run_rows` rows, or is one row group.
    """
    run: list[int] = []
    run_rows, run_finished = 0, False
    for index in range(metadata.num_row_groups):
        num_rows = metadata.row_group(index).num_rows
        is_finished = finished.covers(row, row + num_rows)
        if run and (is_finished is not run_finished or run_rows + num_rows > max_run_rows):
            yield run, run_finished
            run, run_rows = [], 0
        run.append(index)
        run_rows, run_finished = run_rows + num_rows, is_finished
        row += num_rows
    if run:
        yield run, run_finished


class _BatchReader:
    """Reads runs of row groups as record batches of a size that suits their rows.

    It uses one thread, which is fastest: a batch is too little work to be shared.
    """

    def __init__(self, parquet: pq.ParquetFile, limits: BatchLimits) -> None:
        self._parquet = parquet
        self._limits = limits
        self._row_bytes = 0.0  # of the run before

    def iter_run(self, run: list[int], id_columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a run: all columns, or `id_columns` alone."""
        if id_columns is not None:
            yield from self._parquet.iter_batches(
                self._limits.max_id_rows, run, id_columns, use_threads=False
            )
            return
        rows = self._batch_rows(run)
        seen_rows = seen_bytes = 0
        for batch in self._parquet.iter_batches(rows, run, use_threads=False):
            seen_rows += batch.num_rows
            seen_bytes += batch.nbytes
            yield batch
        self._row_bytes = seen_bytes / max(seen_rows, 1)

    def _batch_rows(self, run: list[int]) -> int:
        """Return the rows of a batch, from the footer and the run before, or for the first a probe.

        The footer alone is not enough: it counts a text in a dictionary once, however often the
        text occurs.
        """
        groups = [self._parquet.metadata.row_group(index) for index in run]
        stored = sum(group.total_byte_size for group in groups) / max(
            sum(group.num_rows for group in groups), 1
        )
        if not self._row_bytes:
            probe = next(self._parquet.iter_batches(_PROBE_ROWS, run, use_threads=False), None)
            self._row_bytes = probe.nbytes / max(probe.num_rows, 1) if probe else 0.0
        row_bytes = max(stored, self._row_bytes, 1.0)
        return max(1, min(self._limits.max_rows, int(self._limits.max_bytes / row_bytes)))
