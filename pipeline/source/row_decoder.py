"""Decode one file: record batches become checked rows with the columns of all files."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from pipeline.core.arrays import IntArray
from pipeline.core.errors import InputError
from pipeline.source.arrow import Array
from pipeline.source.batch_columns import BatchColumns, Places
from pipeline.source.decoded_rows import DecodedIds, DecodedRows
from pipeline.source.input_file import InputFile
from pipeline.source.layouts.documents import UnequalLists
from pipeline.source.media import document_media, query_media, refuse_images_without_text
from pipeline.source.schema import InputSchema


class RowDecoder:
    """Decodes the record batches of one file.

    In all methods `first_row` is the number of the batch's first row in the file, from 0; messages
    name it.
    """

    def __init__(self, file: InputFile, schema: InputSchema) -> None:
        self._file = file
        self._schema = schema

    @property
    def id_columns(self) -> list[str]:
        """The file's columns that `query_ids` needs."""
        names = self._schema.layout.id_columns()
        return [name for name in names if name not in self._file.constants]

    def leaves_of_ids(self, leaves: Sequence[str]) -> list[str]:
        """Return what `ids` needs, of the file's columns and fields by their dotted paths."""
        return self._schema.layout.leaves_of_ids(leaves)

    def query_ids(self, batch: pa.RecordBatch, first_row: int) -> Array:
        """Return the query ids, one per row.

        Raises:
            InputError: for a null, and for an id that is not UTF-8.
        """
        return self._of_rows(batch, first_row).ids("query_id")

    def ids(self, batch: pa.RecordBatch, first_row: int) -> DecodedIds:
        """Return the ids of queries and candidates.

        Raises:
            InputError: for a null id or rank, a rank over 32 bits, and an id that is not UTF-8.
        """
        of_rows = self._of_rows(batch, first_row)
        of_candidates, offsets = self._of_candidates(batch, of_rows)
        of_candidates.ranks()
        return DecodedIds(of_rows.ids("query_id"), offsets, of_candidates.ids("doc_id"))

    def decode(self, batch: pa.RecordBatch, first_row: int) -> DecodedRows:
        """Return the rows with all that they hold.

        Raises:
            InputError: for a null id or rank, a rank over 32 bits, text that is not UTF-8, lists
                side by side that differ in length, and images and videos as `media` says.
        """
        of_rows = self._of_rows(batch, first_row)
        of_candidates, offsets = self._of_candidates(batch, of_rows)
        query_ids = of_rows.ids("query_id")
        doc_ids = of_candidates.ids("doc_id")
        queries = of_rows.text("query", pa.large_string())
        texts = of_candidates.text("text", pa.large_string())
        media = of_queries = None
        if self._schema.media:
            media = document_media(of_candidates, texts)
            of_queries = query_media(of_rows, queries)
        elif self._schema.media_beside:
            beside = [name for name in self._schema.media_beside if of_candidates.has(name)]
            refuse_images_without_text(of_candidates, beside, texts)
        ranks = of_candidates.ranks()
        repeat_for_candidates = _repeater(offsets)
        columns = [repeat_for_candidates(query_ids), doc_ids]
        candidate_schema = self._schema.candidate_schema
        for name, source in self._schema.passthrough.items():
            kind = candidate_schema.field(name).type
            if of_candidates.has(source):
                columns.append(of_candidates.typed(source, kind))
            else:
                columns.append(repeat_for_candidates(of_rows.typed(source, kind)))
        return DecodedRows(
            query_ids=query_ids,
            queries=queries,
            offsets=offsets,
            candidates=pa.table(columns, schema=candidate_schema),
            texts=texts,
            ranks=ranks,
            media=media,
            query_media=of_queries,
        )

    def _of_candidates(
        self, batch: pa.RecordBatch, of_rows: BatchColumns
    ) -> tuple[BatchColumns, IntArray]:
        """Return the columns of the candidates, and the candidates of each row as offsets."""
        try:
            held = self._schema.layout.candidates(batch)
        except UnequalLists as error:
            raise InputError(
                "the lists of a row have different lengths",
                which=self._file.location.name,
                found=of_rows.places.describe(error.row),
                cure="give every candidate of a query one value in each list",
            ) from error
        places = replace(of_rows.places, offsets=held.offsets)
        return BatchColumns(self._file, self._schema, held.columns, places), held.offsets

    def _of_rows(self, batch: pa.RecordBatch, first_row: int) -> BatchColumns:
        columns = self._schema.layout.row_columns(batch)
        places = Places(self._file, self._schema.sources["query_id"], columns, first_row)
        return BatchColumns(self._file, self._schema, columns, places)


def _repeater(offsets: IntArray) -> Callable[[Array], Array]:
    """Return a function that repeats the value of each row for the row's candidates."""
    sizes = np.diff(offsets)
    if (sizes == 1).all():
        return lambda column: column
    rows: IntArray = np.repeat(np.arange(len(sizes)), sizes)
    return lambda column: column.take(rows)
