"""A file or folder by its address, on this machine or on an object store.

A file becomes visible whole or not at all, wherever it is; see `local_files` and `object_files`.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from pipeline.core.errors import InputError, OutputFailed, SettingsError
from pipeline.storage.errors import translate_errors
from pipeline.storage.files import FileInfo, Files, OpenFile
from pipeline.storage.local_files import LocalFiles, is_unfinished
from pipeline.storage.patient_reads import PatientReads

_REMOTE = ("s3", "gs", "gcs", "abfs", "abfss")


class Location(Struct, frozen=True):
    """A file or folder: where files are kept, and a path there. All methods block.

    Attributes:
        files: The disk or the bucket.
        path: The path in it.
        name: What the user called it, for messages.
    """

    files: Files
    path: str
    name: str

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, so that renames are atomic and locks are the system's."""
        return self.files.is_local

    def child(self, *names: str) -> "Location":
        """Return a file or folder below this folder."""
        tail = "/".join(names)
        return Location(self.files, f"{self.path}/{tail}", f"{self.name.rstrip('/')}/{tail}")

    def beside(self, name: str) -> "Location":
        """Return a file or folder in the same folder as this one."""
        folder, _, _ = self.path.rpartition("/")
        called, _, _ = self.name.rpartition("/")
        return Location(self.files, f"{folder}/{name}", f"{called}/{name}")

    def with_patience(self, reads: PatientReads) -> "Location":
        """Return the same place; on an object store `info`, `open` and reads are retried.

        A disk that fails is not asked again.
        """
        if self.is_local:
            return self
        from pipeline.storage.object_files import ObjectFiles

        assert isinstance(self.files, ObjectFiles)
        return replace(self, files=replace(self.files, reads=reads))

    def info(self) -> FileInfo | None:
        """Return what is there; None if nothing is.

        Raises:
            OutputFailed: if the place cannot be reached or refuses; so do the methods below.
        """
        with translate_errors(self, OutputFailed, "cannot be accessed"):
            return self.files.info(self.path)

    def exists(self) -> bool:
        """Return whether there is a file or a folder."""
        return self.info() is not None

    def is_folder(self) -> bool:
        """Return whether it is a folder; on an object store, a prefix with something below it."""
        info = self.info()
        return info is not None and info.is_folder

    def size_bytes(self) -> int | None:
        """Return the file's size; None if there is no file."""
        info = self.info()
        return None if info is None else info.size_bytes

    def modified(self) -> datetime | None:
        """Return when the file was last written, by the clock of the place; None if it is gone."""
        info = self.info()
        return None if info is None else info.modified

    def children(self, *, recursive: bool = False) -> list[FileInfo]:
        """Return what is below this folder, by path; nothing if the folder does not exist.

        Broken links are left out.
        """
        with translate_errors(self, OutputFailed, "cannot be listed"):
            below = self.files.children(self.path, recursive=recursive)
        return sorted(
            (info for info in below if not info.is_broken_link), key=lambda info: info.path
        )

    def open(self) -> pa.NativeFile:
        """Open the file for reading at any position; raises OSError, as reading from it does."""
        return self.open_with_info().stream

    def open_with_info(self) -> OpenFile:
        """Open the file, and return what it was then; raises OSError as `open` does."""
        return self.files.open(self.path)

    def read(self) -> bytes | None:
        """Return the whole file; None if there is no file."""
        with translate_errors(self, OutputFailed, "cannot be read"):
            try:
                return self.files.read(self.path)
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                return None

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return ranges of the file, each given by offset and size; a range ends with the file.

        Raises:
            FileNotFoundError: if the file is gone.
            OutputFailed: if it is there and cannot be read.
        """
        with translate_errors(self, OutputFailed, "cannot be read", passing=FileNotFoundError):
            return self.files.read_ranges(self.path, ranges)

    def publish(self, content: bytes | memoryview) -> None:
        """Make the file visible with this content, in one step; replaces an older one.

        Raises:
            OutputFailed: disk full, permission denied, store out of reach; the old file stays.
        """
        with translate_errors(self, OutputFailed, "cannot be written"):
            self.files.write(self.path, content)

    @contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """Yield a stream for a file of any size; make it visible when the body ends.

        If the body fails nothing is written, and an older file stays.

        Raises:
            OutputFailed: as `publish`.
        """
        with translate_errors(self, OutputFailed, "cannot be written"):
            with self.files.writing(self.path) as stream:
                yield stream

    def now(self) -> datetime:
        """Return the time by the clock of the place, to the second: that of a file written now."""
        probe = self.beside(f"_probe-{uuid.uuid4().hex[:8]}")
        probe.publish(b"clock probe")
        written = probe.modified()
        probe.remove()
        return written or datetime.now(UTC)

    def remove_unfinished(self) -> None:
        """Remove the files that killed processes left half-written in this folder."""
        for info in self.children() if self.is_local else ():
            if is_unfinished(info.base_name):
                self.child(info.base_name).remove()

    def make_folder(self) -> None:
        """Create the folder and those above it; an object store needs none."""
        with translate_errors(self, OutputFailed, "cannot be created"):
            self.files.make_folder(self.path)

    def remove(self) -> None:
        """Remove the file, or the folder with everything below it; do nothing if it is gone."""
        with translate_errors(self, OutputFailed, "cannot be removed"):
            self.files.remove(self.path)


def locate(name: str) -> Location:
    """Return the file or folder that a user calls `name`: a local path or an object store's URI.

    Credentials and endpoints of object stores come from the environment, never from the URI.

    Raises:
        InputError: for a URI that is not understood.
        SettingsError: for an object store's URI without the extra `s3`.
    """
    scheme, mark, path = name.partition("://")
    if not mark:
        return Location(LocalFiles(), str(Path(name).absolute()), name)
    if scheme == "file":
        return Location(LocalFiles(), unquote(urlsplit(name).path), name)
    if scheme not in _REMOTE:
        raise InputError(
            "unknown kind of address", which=name, expected="a path, s3://, gs:// or abfs://"
        )
    bucket, _, key = path.partition("/")
    if not bucket or "?" in path:
        raise InputError(
            "not a usable address",
            which=name,
            expected=f"{scheme}://BUCKET/PATH",
            cure="set options of a store in the environment (AWS_REGION, AWS_ENDPOINT_URL)",
        )
    return Location(
        _remote_files(name, f"{scheme}://{bucket}", bucket), f"{bucket}/{key}".rstrip("/"), name
    )


def _remote_files(name: str, address: str, bucket: str) -> Files:
    try:
        from pipeline.storage.object_files import ObjectFiles
        from pipeline.storage.object_stores import Timeouts, connect
    except ModuleNotFoundError as error:
        raise SettingsError(
            "an object store needs the extra `s3`",
            which=name,
            cure="pip install 'rerank-pipeline[s3]'",
        ) from error
    try:
        return ObjectFiles(connect(address, Timeouts()), bucket)
    except ValueError as error:
        raise InputError(f"not a usable address: {error}", which=name) from error
