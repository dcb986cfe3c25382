"""Record batches of one Parquet file, of a size that suits its rows.

A file is read in runs of row groups, and a run in record batches of at most `max_rows` rows; rows
with much data make smaller batches.
"""

from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from pipeline.source.column_types import has_nested_dictionary
from pipeline.source.row_spans import RowSpans

_PROBE_ROWS: Final = 32


class BatchLimits(Struct, frozen=True, kw_only=True):
    """How much is decoded at once; the groups do not depend on it.

    Attributes:
        max_rows: Input rows of a batch; more of them are no faster, and take memory.
        max_bytes: Decoded bytes of a batch, as estimated from the footer and earlier rows.
        max_id_rows: Input rows of a batch of which only the query ids are decoded.
        max_checked_bytes: Stored bytes of an input with images, up to which every row is checked
            before the first group is planned.
        max_run_rows: Input rows of the row groups that are read as one run.
    """

    max_rows: int = 8_192
    max_bytes: int = 4 << 20
    max_id_rows: int = 16_384
    max_checked_bytes: int = 1 << 30
    max_run_rows: int = 131_072


def leaves_of(parquet: pq.ParquetFile) -> list[str]:
    """Return a file's columns, and the fields of nested ones, by their dotted paths."""
    schema = parquet.schema
    return [schema.column(at).path for at in range(len(schema))]


def runs_of(
    parquet: pq.ParquetFile, row: int, finished: RowSpans, max_run_rows: int
) -> Iterator[tuple[list[int], bool]]:
    """Yield runs of neighbouring row groups, and whether all rows of a run are finished.

    A run has at most `max_run_rows` rows, or is one row group.
    """
    if has_nested_dictionary(parquet.schema_arrow):
        max_run_rows = 0
    metadata = parquet.metadata
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


class BatchReader:
    """Reads runs of row groups as record batches of a size that suits their rows.

    It uses one thread, which is fastest: a batch is too little work to divide.
    """

    def __init__(self, parquet: pq.ParquetFile, limits: BatchLimits) -> None:
        self._parquet = parquet
        self._limits = limits
        self._row_bytes = 0.0  # of the run before

    def iter_run(
        self, run: list[int], columns: list[str] | None, *, few_bytes: bool
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a run.

        Args:
            run: Row groups.
            columns: Columns, or fields by their dotted paths; None for all.
            few_bytes: The columns of a row take few bytes.
        """
        rows = self._limits.max_id_rows if few_bytes else self._batch_rows(run, columns)
        seen_rows = seen_bytes = 0
        for batch in self._parquet.iter_batches(rows, run, columns, use_threads=False):
            seen_rows += batch.num_rows
            seen_bytes += batch.nbytes
            yield batch
        if not few_bytes:
            self._row_bytes = seen_bytes / max(seen_rows, 1)

    def _batch_rows(self, run: list[int], columns: list[str] | None) -> int:
        """Return the rows of a batch, from the footer and the run before, or for the first a probe.

        The footer alone is not enough: it counts a text in a dictionary once, however often the
        text occurs.
        """
        groups = [self._parquet.metadata.row_group(index) for index in run]
        stored = sum(group.total_byte_size for group in groups) / max(
            sum(group.num_rows for group in groups), 1
        )
        if not self._row_bytes:
            probe = next(
                self._parquet.iter_batches(_PROBE_ROWS, run, columns, use_threads=False), None
            )
            self._row_bytes = probe.nbytes / max(probe.num_rows, 1) if probe else 0.0
        row_bytes = max(stored, self._row_bytes, 1.0)
        return max(1, min(self._limits.max_rows, int(self._limits.max_bytes / row_bytes)))
