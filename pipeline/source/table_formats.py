"""Recognise folders that hold a table of Delta Lake, Hudi or Iceberg.

Files beside the Parquet files say which of these are part of the table; the others are left from
earlier states. Reading all of them would bring deleted rows back.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from msgspec import Struct

from pipeline.core.errors import InputError
from pipeline.storage.location import Location

_LOG_FOLDERS: Mapping[str, str] = {"_delta_log": "Delta Lake", ".hoodie": "Hudi"}
METADATA_FOLDER = "metadata"
_METADATA_SUFFIX = ".metadata.json"
_DATA_FOLDER = re.compile(r"data|[^=]+=.*")
"""The folders within a table that hold its files."""


class _Table(Struct, frozen=True):
    """A table: its format, its folder below the input's base, and the file that shows it."""

    kind: str
    folder: str
    mark: str


def refuse_tables(base: Location, paths: Iterable[str], below: Iterable[str]) -> None:
    """Refuse to read files of a table.

    Args:
        base: The folder of the input.
        paths: The files to read, by their paths below it.
        below: All files and folders that were found there.

    Raises:
        InputError: naming the table and its format.
        OSError: if a folder cannot be listed.
    """
    paths = list(paths)
    for table in _find_tables(base, below):
        prefix = f"{table.folder}/" if table.folder else ""
        if any(path.startswith(prefix) for path in paths):
            raise InputError(
                f"part of a {table.kind} table, some of whose files may hold deleted rows",
                which=base.child(table.folder).name if table.folder else base.name,
                found=table.mark,
                cure="export the table's rows to Parquet files and name those",
            )


def _find_tables(base: Location, below: Iterable[str]) -> Iterator[_Table]:
    for path in below:
        *folders, name = path.split("/")
        for depth, part in enumerate([*folders, name]):
            if part in _LOG_FOLDERS:
                yield _Table(_LOG_FOLDERS[part], "/".join(folders[:depth]), part)
        if folders[-1:] == [METADATA_FOLDER] and name.endswith(_METADATA_SUFFIX):
            yield _Table("Iceberg", "/".join(folders[:-1]), f"{METADATA_FOLDER}/{name}")
    # A folder above may not be readable; then nothing is known of it.
    with suppress(OSError):
        yield from _find_tables_above(base)


def _find_tables_above(base: Location) -> Iterator[_Table]:
    """Yield the tables that the base is a data folder of."""
    folder = base.path
    while _DATA_FOLDER.fullmatch(folder.rpartition("/")[2]):
        folder = folder.rpartition("/")[0]
        for name, kind in _LOG_FOLDERS.items():
            if base.files.info(f"{folder}/{name}") is not None:
                yield _Table(kind, "", f"{folder}/{name}")
        for info in base.files.children(f"{folder}/{METADATA_FOLDER}", recursive=False):
            if info.base_name.endswith(_METADATA_SUFFIX):
                yield _Table("Iceberg", "", info.path)
