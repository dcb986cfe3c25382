"""Look up texts by id: the corpus and the queries, as lazy frames of two columns of strings.

`key` is the id as text, an integer in decimal digits, so that 7 finds "7" but not "007". `value`
is the text, or a file, and is never null.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
from msgspec import Struct

from pipeline.core.errors import InputError, shorten
from pipeline.source.column_types import (
    BYTES_TYPES,
    ID_TYPES,
    TEXT_TYPES,
    bytes_type,
    id_type,
    text_type,
)
from pipeline.source.input_file import InputFile
from pipeline.source.listing import list_input
from pipeline.source.prepare.named_files import NamedFile, find_named_files
from pipeline.source.prepare.text_files import (
    PARSER_ERRORS,
    explain_failure,
    has_bad_line,
    scan_fields,
)

KEY, VALUE = "key", "value"
_UUID_PARTS: Final = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))
_SHOWN_CHARACTERS: Final = 200


class TextsWanted(Struct, frozen=True):
    """The ids and texts to read from files of texts by id.

    Attributes:
        option: The option that names the files, for messages: `--corpus`.
        ids: Names that the id's column may have; the first one found is taken.
        template: The text as pairs of a literal and the field after it, the last may be None.
        fallbacks: Other columns for a field that is not there.
        is_binary: Whether the values are files, not texts.
    """

    option: str
    ids: tuple[str, ...]
    template: Sequence[tuple[str, str | None]]
    fallbacks: Mapping[str, tuple[str, ...]]
    is_binary: bool = False


class TextSource:
    """The files that hold texts by id.

    Args:
        name: What the user called them.
        wanted: What to read.

    Raises:
        InputError: if they cannot be found, or if their columns are not those wanted.
    """

    def __init__(self, name: str, wanted: TextsWanted) -> None:
        self.name = name
        self.wanted = wanted
        self._named = find_named_files(name)
        self._parquet: tuple[InputFile, ...] = ()
        self._fetched: list[tuple[Path, str]] = []
        if self._named.format == "parquet":
            self._parquet = list_input(name).files

    def facts(self) -> list[dict[str, str | int]]:
        """Return the facts of each file that the manifest keeps."""
        prefix = f"{self.wanted.option}/"
        return [
            *(file.facts(prefix) for file in self._named.files),
            *(file.facts() | {"path": prefix + file.path} for file in self._parquet),
        ]

    def refuse_changes(self) -> None:
        """Compare every file with its state when it was found.

        Raises:
            InputError: if one has changed or is gone.
        """
        for file in self._named.files:
            file.refuse_changes()
        for parquet in self._parquet:
            parquet.refuse_changes()

    def holds(self, column: str, spool: Path) -> bool:
        """Return whether a file has a column.

        Args:
            column: Its name.
            spool: As for `scan`.

        Raises:
            InputError: for a file of another format.
        """
        if any(column in file.schema.names for file in self._parquet):
            return True
        folder = spool / self.wanted.option.strip("-")
        for file in self._named.files:
            which = file.location.name
            frame = scan_fields(
                file.fetch(folder), which, self._named.format, (*self.wanted.ids, column)
            )
            if column in frame.collect_schema().names():
                return True
        return False

    def of_column(self, column: str, *, is_binary: bool) -> "TextSource":
        """Return another column of the same files, by the same ids; "" where it is null."""
        wanted = TextsWanted(
            self.wanted.option, self.wanted.ids, [("", column)], {}, is_binary=is_binary
        )
        return TextSource(self.name, wanted)

    def scan(self, spool: Path) -> pl.LazyFrame:
        """Return the texts of all files.

        Args:
            spool: A folder for copies of files that are compressed or remote.

        Raises:
            InputError: for columns that are missing or of wrong types, and files of another format.
        """
        folder = spool / self.wanted.option.strip("-")
        frames = [self._scan_text(file, folder) for file in self._named.files]
        frames += [self._scan_parquet(file, folder) for file in self._parquet]
        return pl.concat(frames)

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Translate errors of reading the result of `scan`; their own words are not repeated.

        Raises:
            InputError: naming the file, and its first bad line.
        """
        try:
            yield
        except (*PARSER_ERRORS, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # a full disk, for example
                raise
            kind = self._named.format
            for path, which in self._fetched:
                if len(self._fetched) == 1 or has_bad_line(path, kind):
                    raise explain_failure(path, which, kind) from error
            raise InputError(
                "cannot be read, or is damaged", which=self.name, cure="write or copy it again"
            ) from error

    def _scan_text(self, file: NamedFile, folder: Path) -> pl.LazyFrame:
        which = file.location.name
        names = (*self.wanted.ids, *_fields(self.wanted))
        path = file.fetch(folder)
        self._fetched.append((path, which))
        frame = scan_fields(path, which, self._named.format, names)
        return self._pairs(frame, frame.collect_schema().names(), which)

    def _scan_parquet(self, file: InputFile, folder: Path) -> pl.LazyFrame:
        which = file.location.name
        local = NamedFile(file.path, file.location, None, file.state.info, "").fetch(folder)
        frame = pl.scan_parquet(local, hive_partitioning=False, glob=False)
        id_name = self._find(self.wanted.ids, file.schema.names, which)
        columns = [
            id_name,
            *(self._column(name, file.schema.names, which) for name in _fields(self.wanted)),
        ]
        for name in dict.fromkeys(columns):
            kind, rule, expected = file.schema.field(name).type, id_type, ID_TYPES
            is_file = self.wanted.is_binary and name != id_name
            if name != id_name:
                rule, expected = (bytes_type, BYTES_TYPES) if is_file else (text_type, TEXT_TYPES)
            if rule(kind) is None:
                raise InputError(
                    f"column {name!r} has a wrong type",
                    which=which,
                    found=kind,
                    expected=expected,
                )
            frame = frame.with_columns(
                pl.col(name).cast(pl.Binary) if is_file else _as_text(name, kind)
            )
        return self._pairs(frame.select(list(dict.fromkeys(columns))), file.schema.names, which)

    def _pairs(self, frame: pl.LazyFrame, names: Sequence[str], which: str) -> pl.LazyFrame:
        pieces: list[pl.Expr] = []
        template = self.wanted.template
        for literal, field in template:
            if literal:
                pieces.append(pl.lit(literal))
            if field is not None:
                empty = b"" if self.wanted.is_binary else ""
                pieces.append(pl.col(self._column(field, names, which)).fill_null(pl.lit(empty)))
        value = pieces[0] if len(pieces) == 1 else pl.concat_str(pieces).str.strip_chars()
        key = pl.col(self._find(self.wanted.ids, names, which))
        return frame.select(key.alias(KEY), value.alias(VALUE)).filter(pl.col(KEY).is_not_null())

    def _column(self, field: str, names: Sequence[str], which: str) -> str:
        return self._find((field, *self.wanted.fallbacks.get(field, ())), names, which)

    def _find(self, candidates: Sequence[str], names: Sequence[str], which: str) -> str:
        found = next((name for name in candidates if name in names), None)
        if found is None:
            raise InputError(
                f"no column {' or '.join(map(repr, candidates))}",
                which=which,
                found=shorten(str(list(names)), _SHOWN_CHARACTERS),
                cure=f"rename a column of {self.wanted.option}",
            )
        return found


def _fields(wanted: TextsWanted) -> list[str]:
    return [field for _, field in wanted.template if field is not None]


def _as_text(name: str, kind: Any) -> pl.Expr:
    """Return a column of a Parquet file as strings, whatever its type."""
    column = pl.col(name)
    if isinstance(kind, pa.UuidType):
        digits = column.bin.encode("hex")
        parts = [digits.str.slice(start, length) for start, length in _UUID_PARTS]
        return pl.concat_str(parts, separator="-").alias(name)
    return column.cast(pl.String)
