"""Candidates of any form, made into one file that can be run later."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.core.errors import SettingsError
from pipeline.core.preparation import Preparation
from pipeline.dataset.summary import SCHEMA_VERSION
from pipeline.output.validation import locate_output
from pipeline.source.prepare.prepare import Preparer


def prepare_file(
    input_name: str,
    target_name: str,
    preparation: Preparation,
    *,
    columns: Mapping[str, str],
    layout: str = "auto",
    max_queries: int | None = None,
) -> dict[str, Any]:
    """Write candidates as one Parquet file; an older file is replaced once the new one is whole.

    Args:
        input_name: The candidates: a file, a folder, a glob or an object-store URI.
        target_name: The file, its name ending in `.parquet`.
        preparation: What to do.
        columns: The columns that play roles, where they have other names.
        layout: The candidates' layout.
        max_queries: Take only so many queries, the first ones.

    Returns:
        `rows` and `columns` of the file, and `repeated_ids`: candidates whose doc_id occurs earlier
        in their query.

    Raises:
        SettingsError: for another suffix of the file.
        InputError: if the candidates cannot be read or understood, or texts are missing.
        OutputFailed: if the file cannot be written.
    """
    if not target_name.lower().endswith(".parquet"):
        raise SettingsError(
            "the suffix tells the format", which=target_name, expected="a name in .parquet"
        )
    target = locate_output("OUT.parquet", target_name)
    preparer = Preparer(
        input_name, preparation, columns=columns, layout=layout, max_queries=max_queries
    )
    beside = str(Path(target.path).parent) if target.is_local else None
    if beside is not None:
        target.beside("").make_folder()
    with tempfile.TemporaryDirectory(dir=beside, prefix=".prepare-") as folder:
        with target.writing() as stream:
            prepared = preparer.write(stream, Path(folder))
    with target.open() as written, pq.ParquetFile(written) as parquet:
        names = parquet.schema_arrow.names
        return {
            "schema_version": SCHEMA_VERSION,
            "rows": parquet.metadata.num_rows,
            "columns": names,
            "repeated_ids": prepared.num_repeated,
        }
