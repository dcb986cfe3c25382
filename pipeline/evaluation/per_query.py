"""Write `--per-query FILE`: the values of every query, as Parquet or CSV."""

import io
from collections.abc import Sequence

import polars as pl

from pipeline.core.errors import InputError, OutputFailed, SettingsError
from pipeline.storage.location import Location, locate

OPTION = "--per-query"


def locate_per_query(name: str, *, apart_from: Sequence[str]) -> Location:
    """Return where to write; call this before anything is computed.

    Args:
        name: The file to write; its suffix determines the format.
        apart_from: Files and folders that the command reads: none is overwritten or written into.

    Raises:
        SettingsError: for another suffix, an unusable address, a folder, or a place that is read.
    """
    if not name.lower().endswith((".parquet", ".csv")):
        raise SettingsError("unknown suffix", which=OPTION, found=name, expected=".parquet or .csv")
    try:
        file = locate(name)
        is_folder = file.is_folder()
        read = [locate(other).path.rstrip("/") for other in apart_from]
    except (InputError, OutputFailed) as error:
        raise SettingsError(error.what, which=OPTION, found=name, cure=error.cure) from error
    if is_folder:
        raise SettingsError("is a folder", which=OPTION, found=name, expected="a file")
    if any(f"{file.path}/".startswith(f"{path}/") for path in read):
        raise SettingsError(
            "lies where the command reads", which=OPTION, found=name, cure="write it elsewhere"
        )
    return file


def write_per_query(file: Location, values: pl.DataFrame) -> None:
    """Write the table atomically; replace an older one.

    Raises:
        SettingsError: if it cannot be written.
    """
    content = io.BytesIO()
    if file.path.lower().endswith(".csv"):
        values.write_csv(content)
    else:
        values.write_parquet(content)
    try:
        file.publish(content.getvalue())
    except OutputFailed as error:
        raise SettingsError(error.what, which=OPTION, found=file.name, cure=error.cure) from error
