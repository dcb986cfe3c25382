"""The Parquet files that an input name stands for, in path order.

A name is a file, a folder, a glob or an object store's URI. Below a folder, files and folders whose
names begin with `_` or `.` are skipped, and so are files that do not end in `.parquet`, `.parq` or
`.pq`. Folders called `key=value` below the input become columns; for a glob, the input begins where
the part without wildcards ends.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, repeat
from urllib.parse import unquote

import pyarrow as pa
from msgspec import Struct

from pipeline.core.errors import InputError
from pipeline.source.arrow import Scalar
from pipeline.source.input_file import InputFile
from pipeline.source.parquet_file import open_parquet, translate_errors
from pipeline.source.patterns import path_matcher, split_pattern
from pipeline.storage.location import Location

_SUFFIXES = (".parquet", ".parq", ".pq")
_HIDDEN = ("_", ".")
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_FOOTERS_AT_ONCE = 8


class InputListing(Struct, frozen=True):
    """The files of an input, in the order in which they are read."""

    name: str
    files: tuple[InputFile, ...]

    @property
    def typed_files(self) -> Sequence[InputFile]:
        """The files whose column types count: those with rows, or all if no file has rows.

        Writers often lose the types of columns without values.
        """
        return [file for file in self.files if file.num_rows] or self.files

    @property
    def num_rows(self) -> int:
        """Rows of all files, from their footers."""
        return sum(file.num_rows for file in self.files)

    def locate_row(self, row: int) -> tuple[InputFile, int]:
        """Return the file that holds a row of the input, and the row's number in the file."""
        stops = list(accumulate(file.num_rows for file in self.files))
        number = bisect_right(stops, row)
        file = self.files[number]
        return file, row - (stops[number] - file.num_rows)

    def facts(self) -> list[dict[str, str | int]]:
        """Return what the manifest keeps of each file."""
        return [file.facts() for file in self.files]

    def refuse_changes(self) -> None:
        """Compare every file with what was listed; to be called when all is read.

        Files that were added to the input since are not looked for: they are no part of it.

        Raises:
            InputError: if one has changed or is gone.
        """
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as threads:
            for _ in threads.map(InputFile.refuse_changes, self.files):
                pass


def list_input(name: str) -> InputListing:
    """Find the Parquet files of an input and read their footers.

    Raises:
        InputError: if there are none, or if one is not a readable Parquet file.
    """
    base, pattern = split_pattern(name)
    with translate_errors(base):
        found = _find(base, pattern)
    if found is None:
        what = "no such file or folder" if base.is_local else "no such object, prefix or bucket"
        raise InputError(what, which=name, cure="check the input's name")
    if not found:
        raise InputError(
            "no Parquet files",
            which=name,
            expected="names that end in .parquet and do not begin with _ or .",
            cure="check the input's name",
        )
    constants = _hive_constants(found)
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as threads:
        files = threads.map(_read_footer, repeat(base), found, constants)
        return InputListing(name, tuple(files))


def _find(base: Location, pattern: str) -> list[str] | None:
    """Return the files to read, by path below the base; None if there is no base."""
    info = base.files.info(base.path)
    if info is not None and not info.is_folder and not pattern:
        return [""]
    if info is None or not info.is_folder:
        return None
    deep = "/" in pattern or not pattern.endswith(_SUFFIXES)
    below = base.files.children(base.path, recursive=deep)
    paths = [file.path.removeprefix(base.path).lstrip("/") for file in below if not file.is_folder]
    matches = path_matcher(pattern)
    return sorted(path for path in paths if _is_input(path) and matches(path))


def _is_input(path: str) -> bool:
    """Return whether a path bears the name of a Parquet file, and no part of it is hidden."""
    return path.lower().endswith(_SUFFIXES) and not any(
        part.startswith(_HIDDEN) for part in path.split("/")
    )


def _hive_constants(paths: list[str]) -> list[dict[str, Scalar]]:
    """Return the `key=value` folders of each path; int64 if all values of a key are integers."""
    values = [
        {
            unquote(key): None if value == _HIVE_NULL else unquote(value)
            for key, mark, value in (part.partition("=") for part in path.split("/")[:-1])
            if mark and key
        }
        for path in paths
    ]
    keys = {key for of_path in values for key in of_path}
    types = {key: _hive_type([of_path.get(key) for of_path in values]) for key in keys}
    return [
        {key: pa.scalar(value, pa.string()).cast(types[key]) for key, value in of_path.items()}
        for of_path in values
    ]


def _hive_type(values: Iterable[str | None]) -> pa.DataType:
    """Return int64 only if no value changes by it: `01` and `1` are two folders, so strings."""
    canonical = re.compile(r"0|-?[1-9][0-9]{0,17}").fullmatch
    return pa.int64() if all(v is None or canonical(v) for v in values) else pa.string()


def _read_footer(base: Location, path: str, folders: Mapping[str, Scalar]) -> InputFile:
    location = base.child(path) if path else base
    with open_parquet(location, for_rows=False) as opened:
        schema = opened.parquet.schema_arrow
        num_rows = opened.parquet.metadata.num_rows
    # A column of the file itself wins over a folder of its name.
    constants = {key: value for key, value in folders.items() if key not in schema.names}
    for key, value in constants.items():
        schema = schema.append(pa.field(key, value.type))
    path = path or base.path.rpartition("/")[2]
    return InputFile(path, location, opened.state, num_rows, schema, constants)
