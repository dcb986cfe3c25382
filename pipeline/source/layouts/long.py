"""A file's record batch, checked and brought to the columns that the whole dataset shares.

The columns of a batch of candidates are those of `InputSchema.rows_schema` and then three to work
with: the query, the text (both large_string, sharing the input's bytes) and the first-stage rank
(int32, all null where the input has none).
"""

import pyarrow as pa

from pipeline.core.errors import InputError, shorten
from pipeline.source.arrow import Array, Field, nulls, repeated
from pipeline.source.listing import InputFile
from pipeline.source.schema import InputSchema

WORK_COLUMNS = ("query", "text", "first_stage_rank")


class CandidateColumns:
    """Makes batches of candidates from the record batches of one file.

    Rows are counted within the file, from 0.
    """

    def __init__(self, file: InputFile, schema: InputSchema) -> None:
        self._file = file
        self._schema = schema
        self._id_fields = [schema.rows_schema.field(name) for name in ("query_id", "doc_id")]

    @property
    def id_columns(self) -> list[str]:
        """The columns that must be read for `query_ids`."""
        source = self._schema.sources["query_id"]
        return [] if source in self._file.constants else [source]

    def query_ids(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        """The query ids alone.

        Raises:
            InputError: for a null.
        """
        query_id = self._id_fields[0]
        return pa.record_batch([self._ids(query_id, batch, first_row)], [query_id.name])

    def candidates(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        """All columns.

        Raises:
            InputError: for a null id or rank, a rank over 32 bits, and text that is not UTF-8.
        """
        ids = [self._ids(field, batch, first_row) for field in self._id_fields]
        work = [
            self._text("query", pa.large_string(), batch, first_row),
            self._text("text", pa.large_string(), batch, first_row),
            self._ranks(batch, first_row),
        ]
        rows = self._schema.rows_schema
        carried = [
            self._carried(source, rows.field(name).type, batch)
            for name, source in self._schema.carried.items()
        ]
        return pa.record_batch([*ids, *carried, *work], [*rows.names, *WORK_COLUMNS])

    def _ids(self, field: Field, batch: pa.RecordBatch, first_row: int) -> Array:
        if pa.types.is_integer(field.type):
            ids = self._carried(self._schema.sources[field.name], field.type, batch)
        else:
            ids = self._text(field.name, field.type, batch, first_row)
        if ids.null_count:
            row = ids.is_null().index(True).as_py()
            raise InputError(
                f"null {field.name}",
                which=self._file.location.name,
                found=self._place(batch, row, first_row),
                cure="give every candidate its ids, or leave the row out",
            )
        return ids

    def _text(self, role: str, kind: pa.DataType, batch: pa.RecordBatch, first_row: int) -> Array:
        """A column of valid UTF-8; readers of Parquet do not check that it is."""
        source = self._schema.sources[role]
        column = self._column(source, batch)
        try:
            text = column.cast(kind)
            text.validate(full=True)
        except pa.ArrowInvalid as error:
            row = _first_not_utf8(column)
            raise InputError(
                f"column {source!r} is not UTF-8",
                which=self._file.location.name,
                found=self._place(batch, row, first_row),
                cure="write its text again as UTF-8",
            ) from error
        return text

    def _ranks(self, batch: pa.RecordBatch, first_row: int) -> Array:
        source = self._schema.sources.get("first_stage_rank")
        if source is None:
            return nulls(batch.num_rows, pa.int32())
        column = self._column(source, batch)
        try:
            ranks = column.cast(pa.int32())
        except pa.ArrowInvalid as error:
            raise InputError(
                f"column {source!r} holds a rank over 32 bits", which=self._file.location.name
            ) from error
        if ranks.null_count:
            row = ranks.is_null().index(True).as_py()
            raise InputError(
                f"null in column {source!r}",
                which=self._file.location.name,
                found=self._place(batch, row, first_row),
                cure="rank every candidate, or leave the column out to rank by position",
            )
        return ranks

    def _carried(self, source: str, kind: pa.DataType, batch: pa.RecordBatch) -> Array:
        column = self._column(source, batch)
        if pa.types.is_null(column.type):
            return nulls(batch.num_rows, kind)
        return column if column.type == kind else column.cast(kind)

    def _column(self, source: str, batch: pa.RecordBatch) -> Array:
        if source in batch.schema.names:
            return batch.column(source)
        value = self._file.constants.get(source)
        if value is None:
            return nulls(batch.num_rows, pa.null())
        return repeated(value, batch.num_rows)

    def _place(self, batch: pa.RecordBatch, row: int, first_row: int) -> str:
        """A row of a batch, for a message."""
        column = self._column(self._schema.sources["query_id"], batch).slice(row, 1)
        if pa.types.is_integer(column.type):
            query_id = column[0].as_py()
        else:
            raw = _raw_bytes(column)[0]
            query_id = raw if raw is None else raw.decode(errors="backslashreplace")
        return f"row {first_row + row}, query_id {shorten(repr(query_id), 60)}"


def _first_not_utf8(column: Array) -> int:
    """The first value that is not UTF-8, looked for one by one: this is the way to an error."""
    for row, value in enumerate(_raw_bytes(column)):
        try:
            (value or b"").decode()
        except UnicodeDecodeError:
            return row
    raise AssertionError("Arrow refused what Python takes for UTF-8")


def _raw_bytes(column: Array) -> list[bytes | None]:
    """The values of a column of any string type, without a look at what they say."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    return column.cast(pa.large_binary()).to_pylist()
