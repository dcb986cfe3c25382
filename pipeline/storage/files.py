"""The interface of a place for files: the seam between local disks and object stores."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import BinaryIO, Protocol

import pyarrow as pa
from msgspec import Struct


class Version(Struct, frozen=True):
    """Identifies a state of an object: on S3 and Azure by `e_tag`, on Google by `version`."""

    e_tag: str | None = None
    version: str | None = None


class FileInfo(Struct, frozen=True):
    """A file or folder that exists.

    Attributes:
        path: Its path in its file system.
        size_bytes: None for a folder.
        modified: When the file was last written, by the clock of the place; None for a folder.
        version: Version of an object, if its store has versions.
        is_broken_link: It is a broken link, so neither a file nor a folder.
    """

    path: str
    size_bytes: int | None = None
    modified: datetime | None = None
    version: Version | None = None
    is_broken_link: bool = False

    @property
    def base_name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder; on an object store, a prefix with something below it."""
        return self.size_bytes is None and not self.is_broken_link

    def is_same_state(self, other: "FileInfo") -> bool:
        """Return whether the file was not written between the two times that it was looked at."""
        if self.size_bytes != other.size_bytes:
            return False
        if self.version is not None and other.version is not None:
            return self.version == other.version
        return self.modified == other.modified


class OpenFile(Struct, frozen=True, eq=False):
    """A file that is open for reading.

    Attributes:
        stream: Reads at any position; of an object only the version that was opened.
        info: What the file was when it was opened.
        snapshot: Returns what the open file is now, without a request to an object store.
    """

    stream: pa.NativeFile
    info: FileInfo
    snapshot: Callable[[], FileInfo]


class StoredObject(Struct, frozen=True):
    """An object's content, its version, and when it was written, by the store's clock."""

    content: bytes
    version: Version
    modified: datetime


class Files(Protocol):
    """Files by path. All methods block and raise OSError; FileNotFoundError if a file is gone."""

    @property
    def is_local(self) -> bool:
        """Whether the files are on this machine, so that renames are atomic and locks work."""

    def info(self, path: str) -> FileInfo | None:
        """Return what is at a path; None if nothing is."""

    def children(self, folder: str, *, recursive: bool) -> list[FileInfo]:
        """Return what is below a folder, in no order; nothing if the folder does not exist.

        Links are followed; broken ones are returned as such. An object store lists folders only
        where `recursive` is false.
        """

    def open(self, path: str) -> OpenFile:
        """Open a file for reading at any position."""

    def read(self, path: str) -> bytes:
        """Return the whole file."""

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return ranges of a file, each given by offset and size; a range ends with the file."""

    def write(self, path: str, content: bytes | memoryview) -> None:
        """Make a file with this content visible in one step; replaces an older one."""

    def writing(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Yield a stream for a file of any size, which is visible when the body ends.

        If the body fails nothing is written. An incomplete file is kept on this machine.
        """

    def make_folder(self, path: str) -> None:
        """Create a folder and those above it, where folders exist at all."""

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with everything below it; do nothing if it is gone."""
