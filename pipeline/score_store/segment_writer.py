"""The segments that a run writes: one at a time, closed when full, old, or at the end.

Locally bytes are appended, so they survive the process from the moment of the write, and a power
cut once the segment is closed. The file is locked as long as its writer lives. An object cannot be
appended to: there the segment is uploaded again with each batch, always complete and never shorter.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from pipeline.core.errors import OutputFailed
from pipeline.score_store.key_index import Place
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.segment_index import BatchFacts
from pipeline.score_store.segments import Message, SegmentBuilder, new_name
from pipeline.storage.errors import translate_errors
from pipeline.storage.local_files import sync_folder
from pipeline.storage.location import Location


class SegmentWriter:
    """Writes batches into the run's current segment; used from one thread at a time.

    A failed call changes nothing and can be repeated.

    Args:
        folder: The store.
        clock: Seconds since 1970.
        limits: When a segment is closed.
    """

    def __init__(self, folder: Location, clock: Callable[[], float], limits: StoreLimits) -> None:
        self._folder = folder
        self._clock = clock
        self._full_bytes = limits.full_bytes if folder.is_local else limits.remote_full_bytes
        self._max_age_s = limits.max_age_s
        self._current: _Current | None = None
        self._closer = ThreadPoolExecutor(1, thread_name_prefix="score-store-closer")
        self._closing: list[Future[None]] = []

    def write(self, messages: Sequence[Message]) -> list[tuple[Place, BatchFacts]]:
        """Write batches and return their places; after that a killed process loses none of them.

        Raises:
            OutputFailed: if they cannot be written.
        """
        current = self._open(self._clock())
        written = current.write(messages)
        return [(Place(current.name, facts.offset, facts.size), facts) for facts in written]

    def seal(self) -> None:
        """Close the current segment, if there is one, and wait until the disk has all of them.

        Raises:
            OutputFailed: if that fails; the answers are in the segment, which stays open.
        """
        self._rotate()
        while self._closing:
            self._closing.pop().result()

    def abandon(self) -> None:
        """Drop a segment that could not be finished; readers skip its torn end."""
        if self._current is not None:
            self._current.file.close()
            self._current = None

    def _open(self, now: float) -> "_Current":
        """Return the segment to write into: a new one if the last is full, old or gone."""
        current = self._current
        if current is not None and not current.file.can_be_continued():
            self.abandon()
        elif current is not None and (
            current.size_bytes >= self._full_bytes or abs(now - current.began) > self._max_age_s
        ):
            self._rotate()
        self._current = self._current or _Current(self._folder, now)
        return self._current

    def _rotate(self) -> None:
        """Let the next answer begin a new segment.

        The old one is flushed to the disk in another thread: that may take seconds, and answers
        that arrive meanwhile must be in a file within 50 ms.
        """
        if self._current is not None:
            self._current.finish()
            self._closing.append(self._closer.submit(self._current.file.close))
            self._current = None


class _Current:
    """The segment that is being written."""

    def __init__(self, folder: Location, now: float) -> None:
        self.name = new_name(now)
        self.began = now
        location = folder.child(self.name)
        self.file: _File = _AppendedFile(location) if folder.is_local else _ReplacedObject(location)
        self._builder = SegmentBuilder()
        self._unwritten = self._builder.start()

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""
        return self._builder.size_bytes

    def write(self, messages: Sequence[Message]) -> list[BatchFacts]:
        self.file.append(b"".join([self._unwritten, *(message.content for message in messages)]))
        self._unwritten = b""
        return [self._builder.add(message) for message in messages]

    def finish(self) -> None:
        self.file.append(self._builder.end())


class _File(Protocol):
    def append(self, content: bytes) -> None:
        """Append all of it or nothing; raises OutputFailed."""

    def can_be_continued(self) -> bool:
        """Return whether readers will find what is appended."""

    def close(self) -> None:
        """Flush it to the disk and close it; raises OutputFailed."""


class _AppendedFile:
    def __init__(self, location: Location) -> None:
        self._location = location
        self._size_bytes = 0
        self._is_torn = False
        path = Path(location.path)
        with translate_errors(location, OutputFailed, "cannot be created"):
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._file: int | None = os.open(path, flags, 0o666)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def append(self, content: bytes) -> None:
        assert self._file is not None
        rest = memoryview(content)
        with translate_errors(self._location, OutputFailed, "cannot be written"):
            try:
                while rest:
                    rest = rest[os.write(self._file, rest) :]
            except OSError:
                self._is_torn = True
                os.ftruncate(self._file, self._size_bytes)
                self._is_torn = False
                raise
        self._size_bytes += len(content)

    def can_be_continued(self) -> bool:
        """Return whether readers will find what is appended."""
        return not self._is_torn and not self._is_gone()

    def close(self) -> None:
        if self._file is None:
            return
        with translate_errors(self._location, OutputFailed, "cannot be written"):
            is_gone, file, self._file = self._is_gone(), self._file, None
            try:
                os.fsync(file)
            finally:
                os.close(file)
            if not is_gone:
                sync_folder(Path(self._location.path).parent)

    def _is_gone(self) -> bool:
        return self._file is not None and not os.fstat(self._file).st_nlink


class _ReplacedObject:
    def __init__(self, location: Location) -> None:
        self._location = location
        self._content = bytearray()

    def append(self, content: bytes) -> None:
        whole = bytes(self._content) + content
        self._location.publish(whole)
        self._content += content

    def can_be_continued(self) -> bool:
        """Return that it can: each upload is complete, whatever was there."""
        return True

    def close(self) -> None:
        """Do nothing: each upload was complete."""
