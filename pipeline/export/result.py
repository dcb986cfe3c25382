"""A result to export or load: an output, or the outputs of a backfill, one for each partition."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from operator import attrgetter
from typing import Any, Final, TypeAlias

import pyarrow as pa
from msgspec import Struct

from pipeline.core.errors import InputError
from pipeline.output.backfill_record import planned_partitions
from pipeline.output.layout import MANIFEST_NAME
from pipeline.output.part_info import PartInfo
from pipeline.output.reader import WrittenOutput, open_output
from pipeline.source.arrow import Field, repeat
from pipeline.source.joint_types import joint_type
from pipeline.storage.location import locate
from pipeline.storage.partitions import Partition, list_partitions, parse_date

Value: TypeAlias = date | int | str
"""A partition's value: a date or an integer if all values of the key are, else a string."""

_SHOWN: Final = 3
_TYPES: Final[tuple[tuple[type, pa.DataType], ...]] = (
    (date, pa.date32()),
    (int, pa.int64()),
    (str, pa.string()),
)


class Piece(Struct, frozen=True, eq=False):
    """One output of a result.

    Attributes:
        output: The output.
        partition: Its partition; None for an output that is no partition of a backfill.
        value: The partition's value, of one type in all partitions.
        stored: The columns of the parts; none if there is no part.
    """

    output: WrittenOutput
    stored: pa.Schema
    partition: Partition | None = None
    value: Value | None = None

    @property
    def name(self) -> str:
        """Its name, for messages."""
        return self.output.location.name

    def columns(self) -> pa.Schema:
        """Return the columns of its rows: the partition's key first, then those of the parts.

        A column of the parts that has the key's name is called `input_KEY`.
        """
        schema = self.stored
        if self.partition is None or self.value is None:
            return schema
        names = _renamed(schema.names, self.partition.key)
        key = pa.field(self.partition.key, value_type(self.value))
        return pa.schema([key, *(f.with_name(n) for f, n in zip(schema, names, strict=True))])

    def iter_rows(self, part: PartInfo, columns: pa.Schema) -> Iterator[pa.Table]:
        """Yield rows of whole queries with these columns, some ten thousand at a time.

        Args:
            part: Of the output.
            columns: Some columns of the result; those that this output lacks are null.

        Raises:
            InputError: if the part cannot be read.
        """
        here = self.columns()
        key = self.partition.key if self.partition else None
        wanted = [name for name in columns.names if name in here.names and name != key]
        stored = [key if key and name == f"input_{key}" else name for name in wanted]
        for rows in self.output.iter_rows(part, stored):
            found = dict(zip(wanted, rows.columns, strict=True))
            yield pa.table(
                [self._column(field, found, rows.num_rows) for field in columns], schema=columns
            )

    def _column(self, field: Field, found: Mapping[str, Any], num_rows: int) -> Any:
        if field.name in found:
            column = found[field.name]
            return column if column.type.equals(field.type) else column.cast(field.type)
        is_key = self.partition is not None and field.name == self.partition.key
        return repeat(pa.scalar(self.value if is_key else None, field.type), num_rows)


class Result(Struct, frozen=True, eq=False):
    """One output, or the outputs of a backfill in the order of their values.

    Attributes:
        name: What the user calls it.
        pieces: The outputs; at least one.
        key: The partition key of a backfill; None for a single output.
    """

    name: str
    pieces: tuple[Piece, ...]
    key: str | None = None

    @property
    def num_rows(self) -> int:
        """How many candidates it has; more than its rows where `--top-n` cut it."""
        return sum(part.num_candidates for piece in self.pieces for part in piece.output.parts)

    def columns(self) -> pa.Schema:
        """Return the columns of all rows.

        A column that only some partitions have is null in the others. Where its types differ, it
        has the type that holds the values of all without loss.

        Raises:
            InputError: if there is no such type.
        """
        fields: dict[str, Field] = {}
        for piece in self.pieces:
            for field in piece.columns():
                known = fields.setdefault(field.name, field)
                kind = joint_type(known.type, field.type)
                if kind is None:
                    raise InputError(
                        f"no type holds its column {field.name} and that of other partitions",
                        which=piece.name,
                        found=field.type,
                        expected=known.type,
                        cure="export or load it apart from them",
                    )
                fields[field.name] = pa.field(field.name, kind)
        return pa.schema(list(fields.values()))


def open_result(name: str, *, partial: bool) -> Result:
    """Open an output, or the root of a backfill.

    Args:
        name: The OUTPUT of a run, or the OUTPUT_ROOT of a backfill.
        partial: Whether to accept an output that is not finished.

    Raises:
        InputError: if there is none, if it cannot be read, or if it is not finished.
        OutputMismatch: if a manifest is damaged or of a newer format.
    """
    location = locate(name)
    partitions = [] if location.child(MANIFEST_NAME).exists() else list_partitions(location)
    begun = [p for p in partitions if p.location.child(MANIFEST_NAME).exists()]
    if not begun:
        pieces: tuple[Piece, ...] = (_open_piece(name),)
        key = None
    else:
        key, values = begun[0].key, typed_values([p.value for p in begun])
        pieces = tuple(
            _open_piece(partition.location.name, partition, value)
            for partition, value in zip(begun, values, strict=True)
        )
        by_value: Callable[[Piece], Any] = attrgetter("value")  # all of one type
        pieces = tuple(sorted(pieces, key=by_value))
    unfinished = [piece.name for piece in pieces if not piece.output.is_finished]
    if begun:
        here = {partition.folder for partition in begun}
        absent = {p.folder for p in partitions if p not in begun} | set(
            planned_partitions(location)
        )
        unfinished += [location.child(folder).name for folder in sorted(absent - here)]
    if unfinished and not partial:
        more = len(unfinished) - _SHOWN
        raise InputError(
            "not finished: _SUCCESS or a part is missing",
            which=", ".join(unfinished[:_SHOWN]) + (f" and {more} more" if more > 0 else ""),
            cure="run the same command again to finish it, or take what is there with --partial",
        )
    return Result(name, pieces, key)


def typed_values(values: Sequence[str]) -> list[Value]:
    """Return the values of a partition key: dates or integers if all are, else as they are."""
    parsers: tuple[Callable[[str], Value], ...] = (parse_date, _integer)
    for parse in parsers:
        with suppress(ValueError):
            return [parse(value) for value in values]
    return list(values)


def value_type(value: Value) -> pa.DataType:
    """Return the type of a partition's column."""
    return next(kind for python, kind in _TYPES if isinstance(value, python))


def _open_piece(name: str, partition: Partition | None = None, value: Value | None = None) -> Piece:
    output = open_output(name)
    return Piece(output, output.schema(), partition, value)


def _integer(text: str) -> int:
    number = int(text)
    if str(number) != text or not -(1 << 63) <= number < 1 << 63:
        raise ValueError(text)
    return number


def _renamed(names: Sequence[str], key: str) -> list[str]:
    return [f"input_{key}" if name == key else name for name in names]
