"""Convert files of text formats to Parquet, and write nested files as one."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from pipeline.source.arrow import nulls
from pipeline.source.listing import InputListing, hive_constants, list_input, with_constants
from pipeline.source.prepare.named_files import NamedFiles
from pipeline.source.prepare.text_files import parsing, scan_rows

_BATCH_ROWS: Final = 65_536


def convert(named: NamedFiles, folder: Path, check: Callable[[], None]) -> InputListing:
    """Return files of a text format as Parquet; messages name the user's files."""
    folder.mkdir(parents=True)
    for number, file in enumerate(named.files):
        check()
        which = file.location.name
        path = file.fetch(folder.with_name("fetched"))
        frame = scan_rows(path, which, named.format)
        with parsing(path, which, named.format):
            frame.sink_parquet(folder / f"{number:08d}.parquet")
        file.refuse_changes()
    converted = list_input(str(folder)).files
    constants = hive_constants([file.path for file in named.files])
    files = [
        with_constants(
            replace(
                parquet,
                path=file.path,
                location=replace(parquet.location, name=file.location.name),
            ),
            folders,
        )
        for parquet, file, folders in zip(converted, named.files, constants, strict=True)
    ]
    return InputListing(named.name, tuple(files))


def write_as_they_are(listing: InputListing, stream: BinaryIO, check: Callable[[], None]) -> None:
    """Write the rows of nested files with their own columns."""
    schemas = [file.schema for file in listing.typed_files]
    schema = pa.unify_schemas(schemas, promote_options="permissive").remove_metadata()
    with pq.ParquetWriter(stream, schema) as writer:
        for file in listing.files:
            with file.open() as opened:
                for batch in opened.parquet.iter_batches(_BATCH_ROWS):
                    check()
                    columns = [
                        batch.column(field.name).cast(field.type)
                        if field.name in batch.schema.names
                        else nulls(batch.num_rows, field.type)
                        for field in schema
                    ]
                    writer.write_table(pa.table(columns, schema=schema))
