"""Nested Parquet: a row per query, its candidates as a list of structs."""

from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.documents import document_schema, make_documents
from pipeline.export.formats.writer import Shape


class NestedParquetWriter:
    """Writes some ten thousand candidates as one row group; see `Writer`."""

    def __init__(self, stream: BinaryIO, shape: Shape) -> None:
        self._key = shape.key
        schema = document_schema(shape.columns, shape.key)
        self._writer = pq.ParquetWriter(stream, schema, compression="zstd")

    def write(self, rows: pa.Table) -> int:
        """Write rows of whole queries."""
        self._writer.write_table(make_documents(rows, self._key))
        return 0

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()
