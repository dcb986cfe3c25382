"""Check DEST of an export: where it may be, and whether an existing file may be replaced.

A file is replaced only if it is an earlier export of the same OUTPUT. What each export writes is
recorded by size and digest in `OUTPUT/_loads/`, before the file becomes visible.
"""

import io
import logging
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final

import msgspec
import xxhash
from msgspec import Struct

from pipeline.core.errors import InputError, OutputFailed, OutputMismatch, SettingsError
from pipeline.core.events import log_event
from pipeline.core.printable import make_printable
from pipeline.output.layout import LOADS_FOLDER, is_hidden
from pipeline.storage.errors import translate_errors
from pipeline.storage.location import Location, locate

_log = logging.getLogger(__name__)

_READ_BYTES: Final = 8 << 20
_KEPT: Final = 2
"""The file that is there, and the one that replaces it: a kill may come before or after."""


class FileDigest(Struct, frozen=True):
    """Size and digest of a file: equal digests mean equal content."""

    size_bytes: int
    xxh3: str


class _Record(Struct):
    dest: str
    files: list[FileDigest]


def locate_destination(name: str, *, apart_from: Sequence[str]) -> Location:
    """Return where to write; call this before anything is read.

    Args:
        name: The file to write.
        apart_from: Outputs and inputs that the command reads: no file is written among them where
            the next reader would take it for a part.

    Raises:
        SettingsError: for a name that cannot be used, a folder, or a place that is read.
    """
    if make_printable(name) != name:
        raise SettingsError(
            "holds characters that cannot be printed", which="DEST", found=make_printable(name)
        )
    try:
        file = locate(name)
        is_folder = name.endswith("/") or file.is_folder()
        read = [locate(other) for other in apart_from]
    except (InputError, OutputFailed) as error:
        raise SettingsError(error.what, which="DEST", found=name, cure=error.cure) from error
    if not name or is_folder:
        raise SettingsError("is a folder", which="DEST", found=name, expected="a file")
    for place in read:
        if place.is_local is file.is_local and _is_among(file.path, place.path):
            raise SettingsError(
                "lies where the command reads", which="DEST", found=name, cure="write it elsewhere"
            )
    return file


def _is_among(file: str, folder: str) -> bool:
    path, above = PurePosixPath(file), PurePosixPath(folder)
    if not path.is_relative_to(above):
        return False
    below = path.relative_to(above).parts
    return not below or not any(map(is_hidden, below))


class ExportRecord:
    """The record of exports of one OUTPUT to one DEST.

    Args:
        output: The output's folder.
        file: DEST.
    """

    def __init__(self, output: Location, file: Location) -> None:
        name = xxhash.xxh3_64_hexdigest(_address(file).encode("utf-8", "surrogatepass"))
        self._record = output.child(LOADS_FOLDER, f"export-{name}.json")
        self._file = file

    def refuse_foreign(self) -> None:
        """Refuse to replace a file that no export of this OUTPUT wrote.

        Raises:
            OutputMismatch: if there is one.
            OutputFailed: if it cannot be read.
        """
        info = self._file.info()
        if info is None:
            return
        sizes = {known.size_bytes for known in self._known()}
        if info.size_bytes in sizes and self._digest() in self._known():
            return
        raise OutputMismatch(
            "exists, and is not an export of this OUTPUT",
            which=self._file.name,
            cure="remove it, or choose another DEST",
        )

    def add(self, written: FileDigest) -> None:
        """Record a file that is about to become visible; log a record that cannot be written."""
        files = [written, *(known for known in self._known() if known != written)][:_KEPT]
        content = msgspec.json.encode(_Record(_address(self._file), files))
        try:
            self._record.publish(msgspec.json.format(content, indent=1))
        except OutputFailed as error:
            log_event(_log, logging.WARNING, "export.not_recorded", error=str(error))

    def _known(self) -> list[FileDigest]:
        try:
            return msgspec.json.decode(self._record.read() or b"", type=_Record).files
        except msgspec.MsgspecError:
            return []

    def _digest(self) -> FileDigest:
        digest, size_bytes = xxhash.xxh3_128(), 0
        with translate_errors(self._file, OutputFailed, "cannot be read"):
            with self._file.open() as stream:
                while content := stream.read(_READ_BYTES):
                    digest.update(content)
                    size_bytes += len(content)
        return FileDigest(size_bytes, digest.hexdigest())


class DigestStream(io.RawIOBase):
    """Passes on what is written, counts it and takes its digest.

    Args:
        stream: Where it goes; it stays open.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._digest = xxhash.xxh3_128()
        self._size_bytes = 0

    def writable(self) -> bool:
        """Return whether it can be written to: yes."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._size_bytes

    def write(self, content: Any) -> int:
        """Write bytes; return how many."""
        size_bytes = memoryview(content).nbytes
        self._stream.write(content)
        self._digest.update(content)
        self._size_bytes += size_bytes
        return size_bytes

    def digest(self) -> FileDigest:
        """Return size and digest of the bytes written so far."""
        return FileDigest(self._size_bytes, self._digest.hexdigest())


def _address(file: Location) -> str:
    """Return the file's address, by whatever name the user calls it."""
    return file.path if file.is_local else f"{file.name.partition('://')[0]}://{file.path}"
