"""Files on this machine. A file is written beside its place, flushed to the disk and renamed."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from msgspec import Struct

from pipeline.storage.files import FileInfo, OpenFile
from pipeline.storage.nameless_file import writing_file

_UNFINISHED = ".unfinished"


class LocalFiles(Struct, frozen=True):
    """Files by absolute path; see `Files`."""

    @property
    def is_local(self) -> bool:
        """Whether the files are on this machine: yes."""
        return True

    def info(self, path: str) -> FileInfo | None:
        """Return what is at a path; None if nothing is. Links are followed."""
        try:
            facts = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _info(path, facts)

    def children(self, folder: str, *, recursive: bool) -> list[FileInfo]:
        """Return what is below a folder; nothing if the folder does not exist."""
        return list(self._walk(folder, recursive)) if self.info(folder) is not None else []

    def open(self, path: str) -> OpenFile:
        """Open a file for reading at any position."""
        if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe without a writer would block
            raise OSError(errno.EINVAL, "not a regular file", path)
        stream = pa.OSFile(path, "rb")

        def snapshot() -> FileInfo:
            return _info(path, os.fstat(stream.fileno()))

        return OpenFile(stream, snapshot(), snapshot)

    def read(self, path: str) -> bytes:
        """Return the whole file."""
        return Path(path).read_bytes()

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return ranges of a file, each given by offset and size; a range ends with the file."""
        file = os.open(path, os.O_RDONLY)
        try:
            return [os.pread(file, size, offset) for offset, size in ranges]
        finally:
            os.close(file)

    def write(self, path: str, content: bytes | memoryview) -> None:
        """Make a file with this content visible in one step; replaces an older one."""
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = _unfinished(place)
        try:
            with unfinished.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.replace(place)
        except BaseException:  # interrupts too: leave no half-written file behind
            unfinished.unlink(missing_ok=True)
            raise
        sync_folder(place.parent)

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        """Yield a stream; make the file visible when the body ends, unless it fails."""
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with writing_file(place, _unfinished(place)) as stream:
            yield stream
        sync_folder(place.parent)

    def make_folder(self, path: str) -> None:
        """Create a folder and those above it."""
        Path(path).mkdir(parents=True, exist_ok=True)

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with everything below it; do nothing if it is gone."""
        info = self.info(path)
        if info is None:
            return
        if info.is_folder:
            shutil.rmtree(path)
        else:
            Path(path).unlink(missing_ok=True)

    def _walk(
        self, folder: str, recursive: bool, above: frozenset[tuple[int, int]] = frozenset()
    ) -> Iterator[FileInfo]:
        """Yield what is below a folder; `above` names those above it by device and inode."""
        facts = Path(folder).stat()
        if (facts.st_dev, facts.st_ino) in above:
            raise OSError(errno.ELOOP, f"the link {folder} leads back to a folder above it")
        with os.scandir(folder) as entries:
            for entry in entries:
                info = self.info(entry.path)
                if info is not None:
                    yield info
                elif os.path.lexists(entry.path):  # else it was removed meanwhile
                    yield FileInfo(entry.path, is_broken_link=True)
                if recursive and info is not None and info.is_folder:
                    yield from self._walk(
                        entry.path, recursive, above | {(facts.st_dev, facts.st_ino)}
                    )


def _unfinished(place: Path) -> Path:
    # The name begins with a dot so that no reader of the folder takes it for a part.
    return place.with_name(f".{place.name}.{os.getpid()}{_UNFINISHED}")


def _info(path: str, facts: os.stat_result) -> FileInfo:
    if stat.S_ISDIR(facts.st_mode):
        return FileInfo(path)
    return FileInfo(path, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))


def is_unfinished(name: str) -> bool:
    """Whether a file of this name is one that a killed process left half-written."""
    return name.startswith(".") and name.endswith(_UNFINISHED)


def sync_folder(path: Path) -> None:
    """Make new names in a local folder survive a power cut, as the files' contents already do."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
