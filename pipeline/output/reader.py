"""The parts of an output as tables in memory, for commands that look at a result."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import parquet

from pipeline.core.errors import InputError
from pipeline.output.layout import is_hidden
from pipeline.storage.errors import explain
from pipeline.storage.location import Location, locate

if TYPE_CHECKING:
    import polars as pl


def read_columns(name: str, columns: Sequence[str]) -> "pl.DataFrame":
    """Return columns of a Parquet file, or of all parts of a folder by path.

    Raises:
        InputError: if there is nothing, or it cannot be read, or lacks a column.
    """
    import polars as pl  # half of the time that a command takes to start

    location = locate(name)
    if not location.exists():
        raise InputError("no such file or folder", which=name)
    files = part_files(location) if location.is_folder() else [location]
    if not files:
        raise InputError("holds no Parquet file", which=name)
    frame = pl.from_arrow(pa.concat_tables([_read(file, columns) for file in files]))
    assert isinstance(frame, pl.DataFrame)
    return frame.select(columns)


def part_files(folder: Location) -> list[Location]:
    """Return the Parquet files directly in a folder, by path."""
    return [
        folder.child(info.base_name)
        for info in folder.children()
        if info.base_name.endswith(".parquet") and not is_hidden(info.base_name)
    ]


def _read(file: Location, columns: Sequence[str]) -> pa.Table:
    try:
        with file.open() as stream, parquet.ParquetFile(stream) as opened:
            names = opened.schema_arrow.names
            if missing := [column for column in columns if column not in names]:
                raise InputError(f"missing columns {missing}", which=file.name, found=names)
            return opened.read(columns=list(columns))
    except pa.ArrowException as error:
        raise InputError(f"cannot be read as Parquet: {error}", which=file.name) from error
    except OSError as error:
        cause, cure = explain(error)
        raise InputError(
            f"cannot be read as Parquet: {cause}", which=file.name, cure=cure
        ) from error
