"""The columns of a record batch as checked values, and descriptions of their places."""

from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import Struct

from pipeline.core.arrays import BoolArray, IntArray
from pipeline.core.errors import InputError, shorten
from pipeline.source.arrow import Array, nulls, repeat, uuid_texts
from pipeline.source.column_types import plain_type
from pipeline.source.input_file import InputFile
from pipeline.source.schema import InputSchema


class Places(Struct, frozen=True, eq=False):
    """Describes the places of a batch's values in the file, for messages.

    Attributes:
        file: The file.
        id_column: The column of the query ids.
        rows: The columns with one value per row.
        first_row: The first row of the batch in the file, from 0.
        offsets: For values of candidates, the candidates of each row; None for values of rows.
    """

    file: InputFile
    id_column: str
    rows: pa.RecordBatch
    first_row: int
    offsets: IntArray | None = None

    def describe(self, place: int) -> str:
        """Return the row and the query id of a value, whatever the id is."""
        row = place
        if self.offsets is not None:
            row = int(np.searchsorted(self.offsets, place, "right")) - 1
        column = _column(self.file, self.rows, self.id_column).slice(row, 1)
        if pa.types.is_integer(column.type):
            query_id = column[0].as_py()
        else:
            raw = _raw_bytes(column)[0]
            query_id = raw if raw is None else raw.decode(errors="backslashreplace")
        return f"row {self.first_row + row}, query_id {shorten(repr(query_id), 60)}"


class BatchColumns:
    """The columns of a batch with one value per row, or those with one value per candidate.

    Args:
        file: Where they come from.
        schema: Which columns play a role.
        batch: Their values.
        places: Where these stand in the file.
    """

    def __init__(
        self, file: InputFile, schema: InputSchema, batch: pa.RecordBatch, places: Places
    ) -> None:
        self._file = file
        self._schema = schema
        self._batch = batch
        self.places = places

    @property
    def file_name(self) -> str:
        """The file, as messages name it."""
        return self._file.location.name

    def has(self, source: str) -> bool:
        """Return whether the batch itself has a column."""
        return self._batch.schema.get_field_index(source) >= 0

    def ids(self, role: str) -> Array:
        """Return the ids that play a role; none is null."""
        kind = self._schema.candidate_schema.field(role).type
        if pa.types.is_integer(kind):
            ids = self.typed(self._schema.sources[role], kind)
        else:
            ids = self.text(role, kind)
        if ids.null_count:
            raise InputError(
                f"null {role}",
                which=self._file.location.name,
                found=self.places.describe(_first_null(ids)),
                cure="give every candidate its ids, or remove the row",
            )
        return ids

    def text(self, role: str, kind: pa.DataType) -> Any:
        """Return a column of valid UTF-8, which the Parquet reader does not check.

        It is all nulls where the input has no column for the role.
        """
        source = self._schema.sources.get(role)
        if source is None:
            return nulls(self._batch.num_rows, kind)
        column = self._column(source)
        if isinstance(column, pa.UuidArray):
            column = uuid_texts(column)
        try:
            text = column.cast(kind)
            text.validate(full=True)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"column {source!r} is not UTF-8",
                which=self._file.location.name,
                found=self.places.describe(_first_not_utf8(column)),
                cure="write its text again as UTF-8",
            ) from error
        return text

    def binary(self, role: str) -> Any:
        """Return a column of files; all nulls where the input has no column for the role."""
        source = self._schema.sources.get(role)
        if source is None:
            return nulls(self._batch.num_rows, pa.large_binary())
        return self._column(source).cast(pa.large_binary())

    def validity(self, source: str) -> BoolArray:
        """Return which values of a column are not null."""
        valid: BoolArray = self._column(source).is_valid().to_numpy(zero_copy_only=False)
        return valid

    def ranks(self) -> Array:
        """Return the first-stage ranks; all null where the input has none."""
        source = self._schema.sources.get("first_stage_rank")
        if source is None:
            return nulls(self._batch.num_rows, pa.int32())
        column = self._column(source)
        try:
            ranks = column.cast(pa.int32())
        except pa.ArrowInvalid as error:
            raise InputError(
                f"column {source!r} holds a number that is not a rank",
                which=self._file.location.name,
                found=self.places.describe(_first_over_32_bits(column)),
                expected="a 32-bit integer",
                cure="number the candidates of each query from 1, or leave the column out",
            ) from error
        if ranks.null_count:
            raise InputError(
                f"null in column {source!r}",
                which=self._file.location.name,
                found=self.places.describe(_first_null(ranks)),
                cure="rank every candidate, or leave the column out to rank by position",
            )
        return ranks

    def typed(self, source: str, kind: pa.DataType) -> Array:
        """Return a column as a type that holds its values without loss.

        Raises:
            InputError: for a time that nanoseconds do not reach.
        """
        column = self._column(source)
        if pa.types.is_null(column.type):
            return nulls(len(column), kind)
        if column.type == kind:
            return column
        try:
            return column.cast(plain_type(column.type, swap_list_views=True)).cast(kind)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"column {source!r} holds a value that does not fit the type of other files",
                which=self._file.location.name,
                found=self.places.describe(_first_misfit(column, kind)),
                expected=kind,
                cure="write all files with one type",
            ) from error

    def _column(self, source: str) -> Array:
        return _column(self._file, self._batch, source)


def _column(file: InputFile, batch: pa.RecordBatch, source: str) -> Array:
    """Return a column of the batch, of the file's folders, or of nulls where it has none."""
    if batch.schema.get_field_index(source) >= 0:
        return batch.column(source)
    value = file.constants.get(source)
    if value is None:
        return nulls(batch.num_rows, pa.null())
    return repeat(value, batch.num_rows)


def _first_null(column: Array) -> int:
    place: int = column.is_null().index(True).as_py()
    return place


def _first_over_32_bits(column: Array) -> int:
    return next(
        place
        for place, rank in enumerate(column.to_pylist())
        if rank is not None and not -(2**31) <= rank < 2**31
    )


def _first_misfit(column: Array, kind: pa.DataType) -> int:
    """Return the place of the first value that cannot be cast; slow, since only for an error."""
    for place in range(len(column)):
        try:
            column.slice(place, 1).cast(kind)
        except pa.ArrowInvalid:
            return place
    raise AssertionError("Arrow casts each value, but not all of them")


def _first_not_utf8(column: Array) -> int:
    """Return the place of the first value that is not UTF-8; slow, since only for an error."""
    for place, value in enumerate(_raw_bytes(column)):
        try:
            (value or b"").decode()
        except UnicodeDecodeError:
            return place
    raise AssertionError("Arrow refused text that Python takes for UTF-8")


def _raw_bytes(column: Array) -> list[bytes | None]:
    """Return the values of a column of any string type, unchecked."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if isinstance(column, pa.UuidArray):
        column = uuid_texts(column)
    return column.cast(pa.large_binary()).to_pylist()
