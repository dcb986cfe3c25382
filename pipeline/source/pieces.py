"""Candidates as record batches of one schema, in file order and in bounded memory.

A file is read in runs of row groups, and a run in batches of at most `max_rows` rows; long texts
make smaller batches. Of rows that are finished only the query ids are decoded.

Another layout plugs in at `CandidateColumns`: whatever makes batches of candidates of a file's
batches may unnest lists or look texts up; what comes after sees candidates alone.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from pipeline.source.layouts.long import CandidateColumns
from pipeline.source.listing import InputFile
from pipeline.source.parquet_file import open_parquet
from pipeline.source.row_spans import RowSpans
from pipeline.source.schema import InputSchema

_PROBE_ROWS = 32
_RUN_ROWS = 1 << 17
_ID_BATCH_ROWS = 1 << 14


class BatchLimits(Struct, frozen=True):
    """How much is decoded at once; the groups that come out do not depend on it.

    Attributes:
        max_rows: Rows of a batch; more of them are no faster, and take memory.
        max_bytes: Decoded bytes of a batch, as far as can be foreseen.
    """

    max_rows: int = 8_192
    max_bytes: int = 2 << 20


class Piece(Struct, frozen=True, eq=False):
    """Adjacent candidates of one file.

    Attributes:
        file: Where they come from.
        first_row: Row of the first one in the dataset.
        finished: Nothing is to be done for them; then there are their query ids alone.
        batch: The candidates, see `CandidateColumns`.
    """

    file: InputFile
    first_row: int
    finished: bool
    batch: pa.RecordBatch

    @property
    def num_rows(self) -> int:
        """How many candidates there are."""
        return self.batch.num_rows


def iter_pieces(
    files: Sequence[InputFile],
    schema: InputSchema,
    *,
    finished: RowSpans,
    stop_row: int,
    limits: BatchLimits,
) -> Iterator[Piece]:
    """Yield the rows of all files in order, up to the file that holds `stop_row`.

    Raises:
        InputError: for a file that breaks, a null id, and text that is not UTF-8.
    """
    first_row = 0
    for file in files:
        if first_row >= stop_row:
            return
        if file.num_rows:
            yield from _iter_file(file, first_row, schema, finished, limits)
        first_row += file.num_rows


def _iter_file(
    file: InputFile,
    first_row: int,
    schema: InputSchema,
    finished: RowSpans,
    limits: BatchLimits,
) -> Iterator[Piece]:
    columns = CandidateColumns(file, schema)
    row = first_row
    with open_parquet(file.location, for_rows=True) as parquet:
        decoder = _Decoder(parquet, limits)
        for run, ids_only in _runs(parquet.metadata, first_row, finished):
            for batch in decoder.iter_batches(run, columns.id_columns if ids_only else None):
                for start, stop, done in finished.cut(row, row + batch.num_rows):
                    part = batch.slice(start - row, stop - start)
                    make = columns.query_ids if done else columns.candidates
                    yield Piece(file, start, done, make(part, start - first_row))
                row += batch.num_rows


def _runs(
    metadata: pq.FileMetaData, row: int, finished: RowSpans
) -> Iterator[tuple[list[int], bool]]:
    """Join neighbouring row groups that are all finished, or that all hold work."""
    run: list[int] = []
    run_rows, run_done = 0, False
    for index in range(metadata.num_row_groups):
        num_rows = metadata.row_group(index).num_rows
        done = finished.cover(row, row + num_rows)
        if run and (done is not run_done or run_rows + num_rows > _RUN_ROWS):
            yield run, run_done
            run, run_rows = [], 0
        run.append(index)
        run_rows, run_done = run_rows + num_rows, done
        row += num_rows
    if run:
        yield run, run_done


class _Decoder:
    """Decodes runs of row groups, each in batches of a size that fits its rows.

    One thread is fastest: a batch is too little work to be shared.
    """

    def __init__(self, parquet: pq.ParquetFile, limits: BatchLimits) -> None:
        self._parquet = parquet
        self._limits = limits
        self._row_bytes = 0.0  # of the run before

    def iter_batches(
        self, run: list[int], id_columns: list[str] | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the run's rows: all columns, or `id_columns` alone."""
        if id_columns is not None:
            yield from self._parquet.iter_batches(
                _ID_BATCH_ROWS, run, id_columns, use_threads=False
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
        """Rows of a batch, from the footer, the run before, and for the first run a few rows.

        The footer alone would not do: a text that a dictionary holds once counts once in it,
        however often it occurs.
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
