"""Bring the rows of each query together, in bounded memory.

Queries keep the order in which they first appear, and the rows of a query their own order. Only a
hash of each query id is held in memory. The rows are dealt to buckets of neighbouring queries, each
a file that fits in memory, and each bucket is then sorted.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.core.arrays import IntArray, KeyArray
from pipeline.source.prepare.spool import stored_tables

_PLACE: Final = "_place"


def hash_ids(ids: Any) -> KeyArray:
    """Return a 64-bit hash of each id, the same within this process."""
    series = pl.from_arrow(ids)
    assert isinstance(series, pl.Series)
    return series.hash().to_numpy()


def sorted_places(hashes: KeyArray) -> IntArray:
    """Return the place of each row once the rows of each query are together.

    The rows of two queries with equal hashes would be mixed, which later checks refuse.

    Args:
        hashes: The hash of each row's query id.
    """
    _, first, query = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(first[query], kind="stable")
    places: IntArray = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def sort_tables(
    tables: Iterable[pa.Table], places: IntArray, folder: Path, *, rows_per_bucket: int
) -> Iterator[pa.Table]:
    """Yield the rows at their places.

    Args:
        tables: The rows, tables of one schema.
        places: The place of each row.
        folder: An empty folder for the buckets, which are removed when they are read.
        rows_per_bucket: How many rows to sort at once.
    """
    folder.mkdir(parents=True)
    files: dict[int, Path] = {}
    writers: dict[int, pa.ipc.RecordBatchFileWriter] = {}
    try:
        row = 0
        for table in tables:
            if not table.num_rows:  # tells the columns
                yield table
                continue
            own = places[row : row + table.num_rows]
            row += table.num_rows
            table = table.append_column(_PLACE, pa.array(own))
            buckets = own // rows_per_bucket
            order: IntArray = np.argsort(buckets, kind="stable")
            numbers, starts = np.unique(buckets[order], return_index=True)
            stops = np.append(starts[1:], len(order))
            dealt = table.take(order)
            for number, start, stop in zip(numbers.tolist(), starts, stops, strict=True):
                if number not in writers:
                    files[number] = folder / f"{number:06d}"
                    writers[number] = pa.ipc.new_file(str(files[number]), table.schema)
                writers[number].write_table(dealt.slice(start, stop - start))
    finally:
        for writer in writers.values():
            writer.close()
    for number in sorted(files):
        yield _read_sorted(files[number])
        files[number].unlink()


def _read_sorted(file: Path) -> pa.Table:
    with stored_tables(file) as tables:
        bucket = pa.concat_tables(tables)
        order: IntArray = np.argsort(bucket.column(_PLACE).to_numpy(), kind="stable")
        return bucket.drop_columns(_PLACE).combine_chunks().take(order)
