"""One Parquet file, opened for reading; every failure becomes an InputError of one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from pipeline.core.errors import InputError, shorten
from pipeline.source.footer import Footer, NotParquetButText, read_footer
from pipeline.storage.errors import ChangedObject, StoreError, explain
from pipeline.storage.files import FileInfo, OpenFile
from pipeline.storage.location import Location

_LOCAL_BUFFER_BYTES = 1 << 20
_REMOTE_BUFFER_BYTES = 8 << 20  # one request to the object store fills a buffer


class FileState(Struct, frozen=True):
    """The state of a file when it was opened; equal contents have equal digests.

    Attributes:
        info: Its size, and when it was written or its version.
        footer_digest: Digest of its footer.
    """

    info: FileInfo
    footer_digest: str

    def is_same(self, other: "FileState") -> bool:
        """Return whether nothing was written to the file between the two."""
        return self.info.is_same_state(other.info) and self.footer_digest == other.footer_digest


class OpenParquet(Struct, frozen=True, eq=False):
    """An open file.

    Attributes:
        parquet: Reads it; column chunks are streamed, not loaded whole.
        state: The state of the file when it was opened.
    """

    parquet: pq.ParquetFile
    state: FileState
    _location: Location
    _file: OpenFile

    def refuse_changes(self) -> None:
        """Refuse what was read if the file has changed since it was opened.

        Call it after each read; it is cheap, since an object that was replaced cannot be read at
        all.

        Raises:
            InputError: if it has changed.
        """
        info = self._file.snapshot()
        if not info.is_same_state(self.state.info):
            raise changed(self._location, info, self.state.info)


@contextmanager
def open_parquet(location: Location, *, for_rows: bool) -> Iterator[OpenParquet]:
    """Open a file.

    Args:
        location: The file.
        for_rows: Whether rows are wanted, not only the footer: then a small file of an object store
            is fetched in one request, instead of one or two for each column.

    Raises:
        InputError: if it cannot be opened, is not a Parquet file, breaks while it is read, or is an
            object that was replaced meanwhile.
    """
    with translate_errors(location):
        file = location.open_with_info()
        with file.stream as stream:
            if for_rows and not location.is_local:
                stream = _fetch_if_small(stream)
            footer = read_footer(stream)
            with _reader(stream, footer, is_local=location.is_local) as parquet:
                yield OpenParquet(parquet, FileState(file.info, footer.digest), location, file)


def changed(
    location: Location, found: FileInfo | None = None, expected: FileInfo | None = None
) -> InputError:
    """Return the error for a file that was written to, or replaced, while the job runs."""
    return InputError(
        "changed while it was read",
        which=location.name,
        found=found and _describe(found),
        expected=expected and _describe(expected),
        cure="run again once nothing writes to it any more",
    )


def _describe(info: FileInfo) -> str:
    written = "" if info.modified is None else f" written {info.modified:%Y-%m-%d %H:%M:%S.%f}"
    return f"{info.size_bytes} bytes{written}"


def _reader(stream: pa.NativeFile, footer: Footer, *, is_local: bool) -> pq.ParquetFile:
    return pq.ParquetFile(
        stream,
        metadata=footer.metadata,
        pre_buffer=False,
        buffer_size=_LOCAL_BUFFER_BYTES if is_local else _REMOTE_BUFFER_BYTES,
        page_checksum_verification=True,
        # In nanoseconds such a time would wrap around outside the years 1677 to 2262.
        coerce_int96_timestamp_unit="us",
    )


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
    except ChangedObject as error:
        raise changed(location) from error
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
    except pa.ArrowNotImplementedError as error:
        raise InputError(
            "holds something that Arrow cannot read",
            which=location.name,
            found=shorten(str(error), 120),
            cure="leave that column out, or write it with another type or compression",
        ) from error
    except pa.ArrowException as error:
        raise _damaged(location, error) from error


def _damaged(location: Location, error: Exception) -> InputError:
    if isinstance(error, NotParquetButText):
        return InputError(
            "not a Parquet file",
            which=location.name,
            found=str(error),
            cure="if it is CSV or JSON lines, name it .csv, .tsv or .jsonl: the suffix decides",
        )
    return InputError(
        "not a Parquet file, or a damaged one",
        which=location.name,
        found=shorten(str(error), 120),
        cure="write or copy the file again, or remove it from the input",
    )
