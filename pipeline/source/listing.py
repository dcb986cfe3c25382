"""List the Parquet files that an input name covers, in path order, with their footers.

A name is a file, a folder, a glob or an object store's URI; see `found_files`. Folders called
`key=value` below the input become columns; for a glob, the input begins where the part without
wildcards ends.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, repeat
from urllib.parse import unquote

import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from pipeline.core.errors import InputError
from pipeline.source.arrow import Scalar
from pipeline.source.found_files import find_files, is_utf8, printable
from pipeline.source.input_file import InputFile
from pipeline.source.parquet_file import open_parquet, translate_errors
from pipeline.source.patterns import split_pattern
from pipeline.storage.location import Location
from pipeline.storage.patient_reads import PatientReads

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_FOOTERS_AT_ONCE = 8
_SHOWN_NAMES = 4


class InputListing(Struct, frozen=True):
    """The files of an input, in the order in which they are read.

    Attributes:
        name: What the user called the input.
        files: What is read.
        skipped: Paths of other files that the name covers, in printable characters; see
            `found_files`.
        num_beside: Where the name is that of one file, how many files lie beside it whose names
            differ in digits alone.
    """

    name: str
    files: tuple[InputFile, ...]
    skipped: tuple[str, ...] = ()
    num_beside: int = 0

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
        """Return the facts of each file that the manifest keeps."""
        return [file.facts() for file in self.files]

    def refuse_changes(self) -> None:
        """Compare every file with its state at the listing; to be called when all is read.

        Files that were added to the input since are not looked for: they are no part of it.

        Raises:
            InputError: if one has changed or is gone.
        """
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as threads:
            for _ in threads.map(InputFile.refuse_changes, self.files):
                pass


def list_input(name: str, *, reads: PatientReads | None = None) -> InputListing:
    """Find the Parquet files of an input and read their footers.

    Args:
        name: What the user called it.
        reads: Insists on reading an object store; by default nothing does.

    Raises:
        InputError: if there are none, or if one is not a readable Parquet file.
    """
    if not is_utf8(name):
        raise InputError("its name is not UTF-8", which=printable(name), cure="rename it")
    base, pattern = split_pattern(name)
    if reads is not None:
        base = base.with_patience(reads)
    with translate_errors(base):
        found = find_files(base, pattern)
    if found is None:
        what = "no such file or folder" if base.is_local else "no such object, prefix or bucket"
        raise InputError(what, which=name, cure="check the input's name")
    skipped = tuple(map(printable, found.skipped))
    if not found.paths:
        raise InputError(
            "no Parquet files",
            which=name,
            found=", ".join(skipped[:_SHOWN_NAMES]) or None,
            expected="names that end in .parquet and do not begin with _ or .",
            cure="check the input's name",
        )
    constants = hive_constants(found.paths)
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as threads:
        files = threads.map(_read_footer, repeat(base), found.paths, constants)
        num_beside = _count_beside(base) if found.paths == ("",) else 0
        return InputListing(name, tuple(files), skipped, num_beside)


def _count_beside(file: Location) -> int:
    """Return how many other files there are whose names differ from the file's in digits alone."""
    folder, _, name = file.path.rpartition("/")
    if not re.search(r"\d", name):
        return 0
    alike = re.compile(re.sub(r"\d+", r"\\d+", re.escape(name))).fullmatch
    try:
        children = file.files.children(folder, recursive=False)
    except OSError:  # the file may be read, but not its folder
        return 0
    return sum(alike(info.base_name) is not None for info in children) - 1


def hive_constants(paths: Iterable[str]) -> list[dict[str, Scalar]]:
    """Return the `key=value` folders of each path; int64 if all values of a key are integers."""
    values = [
        {
            _unquote(key): None if value == _HIVE_NULL else _unquote(value)
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


def _unquote(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:  # not escaped UTF-8: two such values must not become one
        return text


def _hive_type(values: Iterable[str | None]) -> pa.DataType:
    """Return int64 only if no value changes by it: `01` and `1` are two folders, so strings."""
    canonical = re.compile(r"0|-?[1-9][0-9]{0,17}").fullmatch
    return pa.int64() if all(v is None or canonical(v) for v in values) else pa.string()


def _read_footer(base: Location, path: str, folders: Mapping[str, Scalar]) -> InputFile:
    location = base.child(path) if path else base
    with open_parquet(location, for_rows=False) as opened:
        schema = opened.parquet.schema_arrow
        num_rows = opened.parquet.metadata.num_rows
    path = path or base.path.rpartition("/")[2]
    file = InputFile(path, location, opened.state, num_rows, schema, {})
    return with_constants(file, folders)


def with_constants(file: InputFile, folders: Mapping[str, Scalar]) -> InputFile:
    """Return a file with the columns of its folders; a column of its own wins over a folder."""
    constants = {key: value for key, value in folders.items() if key not in file.schema.names}
    schema = file.schema
    for key, value in constants.items():
        schema = schema.append(pa.field(key, value.type))
    return replace(file, schema=schema, constants=constants)
