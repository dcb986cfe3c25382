"""One Parquet file, opened for reading; every failure becomes an InputError of one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import InputError, shorten
from pipeline.storage.errors import StoreError, explain
from pipeline.storage.location import Location

_LOCAL_BUFFER_BYTES = 1 << 20
_REMOTE_BUFFER_BYTES = 8 << 20  # one request to the object store fills a buffer


@contextmanager
def open_parquet(location: Location, *, for_rows: bool) -> Iterator[pq.ParquetFile]:
    """Open a file whose column chunks are streamed, not loaded whole.

    Args:
        location: The file.
        for_rows: Its rows are wanted, not the footer alone: then a small file of an object store
            is fetched in one request, instead of one or two for each column.

    Raises:
        InputError: if it cannot be opened, is not a Parquet file, or breaks while it is read.
    """
    with (
        translate_errors(location),
        location.open() as stream,
        pq.ParquetFile(
            _fetch_if_small(stream) if for_rows and not location.is_local else stream,
            pre_buffer=False,
            buffer_size=_LOCAL_BUFFER_BYTES if location.is_local else _REMOTE_BUFFER_BYTES,
            page_checksum_verification=True,
        ) as parquet,
    ):
        yield parquet


def _fetch_if_small(stream: pa.NativeFile) -> pa.NativeFile:
    small = stream.size() <= _REMOTE_BUFFER_BYTES
    return pa.BufferReader(stream.read_buffer()) if small else stream


@contextmanager
def translate_errors(location: Location) -> Iterator[None]:
    """Translate the errors of file systems and of the Parquet reader into InputError."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            "no such file",
            which=location.name,
            cure="let nothing remove or replace input files while the job runs",
        ) from error
    except OSError as error:
        # The Parquet reader raises OSError for damage too, then without an error number.
        if error.errno is None and not isinstance(error, StoreError):
            raise _damaged(location, error) from error
        cause, cure = explain(error)
        raise InputError(
            "cannot be read",
            which=location.name,
            found=shorten(cause, 120),
            cure=cure or "check that it exists and that you may read it",
        ) from error
    except pa.ArrowException as error:
        raise _damaged(location, error) from error


def _damaged(location: Location, error: Exception) -> InputError:
    return InputError(
        "not a Parquet file, or a damaged one",
        which=location.name,
        found=shorten(str(error), 120),
        cure="write or copy the file again, or remove it from the input",
    )
