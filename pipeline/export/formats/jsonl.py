"""JSON lines: an object a query, with its ranked list."""

from typing import BinaryIO

import polars as pl
import pyarrow as pa

from pipeline.export.documents import make_documents
from pipeline.export.formats.writer import Shape
from pipeline.export.json_text import json_objects, text_bytes, to_frame


class JsonLinesWriter:
    """Writes `{"query_id": ..., "results": [{"doc_id": ..., "rank": 1, ...}]}`; see `Writer`."""

    def __init__(self, stream: BinaryIO, shape: Shape) -> None:
        self._stream = stream
        self._key = shape.key

    def write(self, rows: pa.Table) -> int:
        """Write rows of whole queries."""
        documents = to_frame(make_documents(rows, self._key))
        objects = json_objects(documents.schema, documents.columns)
        self._stream.write(text_bytes(documents.select(pl.format("{}\n", objects)).to_series()))
        return 0

    def close(self) -> None:
        """Do nothing: a file ends with its last line."""
