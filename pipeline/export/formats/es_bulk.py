"""Bodies for `_bulk` of Elasticsearch and OpenSearch: an action, then a document, line by line."""

from collections.abc import Sequence
from typing import BinaryIO

import polars as pl
import pyarrow as pa

from pipeline.export.documents import make_documents
from pipeline.export.formats.writer import Shape
from pipeline.export.ids import joined_id, refuse_long_ids, without_repeats
from pipeline.export.json_text import json_objects, text_bytes, to_frame


class BulkWriter:
    """Writes an `index` action a query, or an `update` a candidate; see `Writer`.

    The `_id` of a query's document is its query_id, that of a candidate's query_id and doc_id; in a
    backfill the partition's value comes first. See `pipeline.export.ids`.
    """

    def __init__(self, stream: BinaryIO, shape: Shape) -> None:
        self._stream = stream
        self._key = shape.key
        self._index = shape.index
        self._per_document = shape.per_document

    def write(self, rows: pa.Table) -> int:
        """Write rows of whole queries; for updates a doc_id that occurs again is left out."""
        key = [name for name in (self._key, "query_id") if name]
        if not self._per_document:
            documents = to_frame(make_documents(rows, self._key))
            source = json_objects(documents.schema, documents.columns)
            self._write(documents, key, "index", pl.format("{}\n", source))
            return 0
        found = to_frame(rows)
        key.append("doc_id")
        kept = without_repeats(found, key)
        source = json_objects(kept.schema, kept.columns)
        line = pl.concat_str([pl.lit('{"doc":'), source, pl.lit(',"doc_as_upsert":true}\n')])
        self._write(kept, key, "update", line)
        return found.height - kept.height

    def close(self) -> None:
        """Do nothing: a body ends with the line feed of its last line."""

    def _write(self, documents: pl.DataFrame, key: list[str], action: str, line: pl.Expr) -> None:
        ids = document_ids(documents, key)
        target = pl.struct(pl.lit(self._index).alias("_index"), ids.alias("_id"))
        head = pl.struct(target.alias(action)).struct.json_encode()
        texts = documents.select(pl.concat_str([pl.format("{}\n", head), line]))
        self._stream.write(text_bytes(texts.to_series()))


def document_ids(documents: pl.DataFrame, key: Sequence[str]) -> pl.Series:
    """Return the `_id` of each document.

    Raises:
        InputError: for one that search engines refuse.
    """
    ids = documents.select(joined_id(key)).to_series()
    refuse_long_ids(ids)
    return ids
