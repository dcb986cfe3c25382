"""Parquet as tables in memory, for the commands that look at a result."""

from collections.abc import Sequence

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from pipeline.core.errors import InputError
from pipeline.storage.location import Location, locate


def read_columns(name: str, columns: Sequence[str]) -> pl.DataFrame:
    """These columns of a Parquet file, or of all parts of a folder, in the order of their paths.

    Raises:
        InputError: if there is nothing, or it cannot be read, or lacks a column.
    """
    location = locate(name)
    if not location.exists():
        raise InputError("no such file or folder", which=name)
    files = part_files(location) if location.is_folder() else [location]
    if not files:
        raise InputError("holds no Parquet file", which=name)
    tables = []
    for file in files:
        try:
            schema = parquet.read_schema(file.path, filesystem=file.filesystem)
            if missing := [column for column in columns if column not in schema.names]:
                raise InputError(f"missing columns {missing}", which=file.name, found=schema.names)
            tables.append(
                parquet.read_table(file.path, filesystem=file.filesystem, columns=list(columns))
            )
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"cannot be read as Parquet: {error}", which=file.name) from error
    frame = pl.from_arrow(pa.concat_tables(tables))
    assert isinstance(frame, pl.DataFrame)
    return frame.select(columns)


def part_files(folder: Location) -> list[Location]:
    """The Parquet files right in a folder, by path; `_` and `.` begin names that are not data."""
    return [
        folder.child(info.base_name)
        for info in folder.children()
        if info.base_name.endswith(".parquet") and info.base_name[0] not in "_."
    ]
