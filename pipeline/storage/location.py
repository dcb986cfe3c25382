"""Where bytes lie: a folder of this machine or of an object store, behind one small face.

A file becomes visible whole or not at all: locally it is written beside its place, flushed to the
disk and renamed; on an object store it is one upload of bytes that are complete before it begins.
(A Parquet writer that streams to an object store publishes a valid but truncated file when it is
interrupted, so nothing here ever streams out.)
"""

import errno
import os
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from pyarrow import fs

from pipeline.core.errors import InputError, OutputFailed, RerankError
from pipeline.storage.object_stores import connect, explain
from pipeline.storage.ranges import coalesce_ranges

_UNFINISHED = ".unfinished"
_PARALLEL_READS = 8
_SCHEMES = ("s3://", "gs://", "gcs://", "abfs://", "abfss://", "file://")


class Location(Struct, frozen=True):
    """A file or folder: a file system and a path in it.

    Attributes:
        name: What the user called it, for messages.
    """

    filesystem: fs.FileSystem
    path: str
    name: str

    @property
    def is_local(self) -> bool:
        """It is on this machine, so renames are atomic and locks are the system's."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def child(self, *names: str) -> "Location":
        """A file or folder below this folder."""
        tail = "/".join(names)
        return Location(self.filesystem, f"{self.path}/{tail}", f"{self.name.rstrip('/')}/{tail}")

    def beside(self, name: str) -> "Location":
        """A file or folder in the same folder as this one."""
        folder, _, _ = self.path.rpartition("/")
        called, _, _ = self.name.rpartition("/")
        return Location(self.filesystem, f"{folder}/{name}", f"{called}/{name}")

    def exists(self) -> bool:
        """Whether there is a file or a folder."""
        return self._info().type is not fs.FileType.NotFound

    def is_folder(self) -> bool:
        """Whether it is a folder, or on an object store a prefix with something below it."""
        return self._info().type is fs.FileType.Directory

    def size_bytes(self) -> int | None:
        """The file's size; None where there is no file."""
        info = self._info()
        return info.size if info.type is fs.FileType.File else None

    def modified(self) -> datetime | None:
        """When the file was last written, by the file system's clock; None where there is none."""
        info = self._info()
        return info.mtime if info.type is fs.FileType.File else None

    def children(self, *, recursive: bool = False) -> list[fs.FileInfo]:
        """What lies below this folder, by path; empty if the folder does not exist."""
        selector = fs.FileSelector(self.path, recursive=recursive, allow_not_found=True)
        with told(self, OutputFailed, "cannot be listed"):
            return sorted(self.filesystem.get_file_info(selector), key=lambda info: info.path)

    def read(self) -> bytes | None:
        """The whole file; None where there is none.

        Raises:
            OutputFailed: if it is there and cannot be read.
        """
        if self.size_bytes() is None:
            return None
        with (
            told(self, OutputFailed, "cannot be read"),
            self.filesystem.open_input_file(self.path) as stream,
        ):
            return bytes(stream.read())

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Pieces of the file, each given by offset and size, in the order of their offsets.

        Pieces that lie close together are read at once. A piece ends where the file ends.

        Raises:
            FileNotFoundError: if the file is gone.
            OutputFailed: if it is there and cannot be read.
        """
        with (
            told(self, OutputFailed, "cannot be read", passing=FileNotFoundError),
            self.filesystem.open_input_file(self.path) as stream,
        ):
            read_at: Any = stream.read_at  # the stubs forget its offset
            spans = list(coalesce_ranges(ranges))
            if self.is_local or len(spans) == 1:
                blocks = [read_at(size, start) for start, size, _ in spans]
            else:
                with ThreadPoolExecutor(_PARALLEL_READS) as pool:
                    blocks = list(pool.map(lambda span: read_at(span[1], span[0]), spans))
            return [
                block[offset - start : offset - start + size]
                for (start, _, wanted), block in zip(spans, blocks, strict=True)
                for offset, size in wanted
            ]

    def publish(self, content: bytes | memoryview) -> None:
        """Make the file visible with this content, in one step; replaces an older one.

        Raises:
            OutputFailed: disk full, permission denied, store unreachable; the old file stays.
        """
        with told(self, OutputFailed, "cannot be written"):
            if self.is_local:
                _publish_locally(Path(self.path), content)
            else:
                with self.filesystem.open_output_stream(self.path) as stream:
                    stream.write(content)

    def now(self) -> datetime:
        """The time by the clock of the place, to the second: a file written beside this one tells.

        Raises:
            OutputFailed: if nothing can be written there.
        """
        probe = self.beside(f"_probe-{uuid.uuid4().hex[:8]}")
        probe.publish(b"what time is it?")
        written = probe.modified()
        probe.remove()
        return written or datetime.now(UTC)

    def remove_unfinished(self, *, before: datetime | None = None) -> None:
        """Remove what killed runs left here half-written; `before` spares the living ones'."""
        for info in self.children() if self.is_local else ():
            dead = info.base_name.startswith(".") and info.base_name.endswith(_UNFINISHED)
            old = before is None or (info.mtime is not None and info.mtime < before)
            if dead and old:
                self.child(info.base_name).remove()

    def make_folder(self) -> None:
        """Create the folder and those above it; nothing to do on an object store."""
        if self.is_local:
            with told(self, OutputFailed, "cannot be created"):
                Path(self.path).mkdir(parents=True, exist_ok=True)

    def remove(self) -> None:
        """Remove the file, or the folder with all that is in it; nothing happens if it is gone."""
        with told(self, OutputFailed, "cannot be removed"):
            info = self._info()
            if info.type is fs.FileType.File:
                self.filesystem.delete_file(self.path)
            elif info.type is fs.FileType.Directory:
                self.filesystem.delete_dir(self.path)

    def _info(self) -> fs.FileInfo:
        with told(self, OutputFailed, "cannot be looked at"):
            return self.filesystem.get_file_info(self.path)


def locate(name: str) -> Location:
    """The file or folder that a user calls `name`: a path of this machine or an object store's URI.

    Credentials and endpoints of object stores come from their usual environment, never from here.

    Raises:
        InputError: for a URI that no file system understands.
    """
    if not name.startswith(_SCHEMES):
        if "://" in name:
            raise InputError(
                "unknown kind of address", which=name, expected="a path, s3://, gs:// or abfs://"
            )
        return Location(fs.LocalFileSystem(), str(Path(name).absolute()), name)
    try:
        filesystem, path = connect(name)
    except (ValueError, OSError) as error:
        raise InputError(f"not a usable address: {error}", which=name) from error
    return Location(filesystem, path, name)


def _publish_locally(path: Path, content: bytes | memoryview) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name begins with a dot so that no reader of the folder takes it for a part.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{_UNFINISHED}")
    try:
        with unfinished.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except BaseException:  # interrupted ones too: leave no half file behind
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make new names in a local folder outlive a power cut, as their files do already."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


_CURES = {
    errno.ENOSPC: "free disk space, then run the same command again",
    errno.EDQUOT: "free disk space, then run the same command again",
    errno.EFBIG: "lift the limit on file sizes (ulimit -f), then run the same command again",
    errno.EACCES: "check who may write there",
    errno.EPERM: "check who may write there",
    errno.ENOTDIR: "a file stands where a folder is needed: choose another OUTPUT",
    errno.EROFS: "the file system is read-only",
}


@contextmanager
def told(
    location: Location,
    error_class: type[RerankError],
    what: str,
    *,
    passing: tuple[type[OSError], ...] | type[OSError] = (),
) -> Iterator[None]:
    """Translate the file systems' errors into ours, in one place; let `passing` through."""
    try:
        yield
    except passing:
        raise
    except OSError as error:
        cause, cure = error.strerror, _CURES.get(error.errno or 0)
        if cause is None or not location.is_local:
            cause, cure = explain(str(error))
        raise error_class(f"{what}: {cause}", which=location.name, cure=cure) from error
