"""The lock of an output on disk: flock on a file that holds the owner's name."""

import asyncio
import fcntl
import os
from pathlib import Path

from pipeline.core.errors import OutputFailed
from pipeline.core.gate import Gate
from pipeline.output.lock.owner_process import Owner, read_owner, this_process
from pipeline.storage.errors import translate_errors
from pipeline.storage.location import Location


class FileLock:
    """A lock that ends with its process. The file stays, else two runs could lock two files.

    Args:
        place: The file; its folder is created.

    Attributes:
        gate: Always open.
    """

    def __init__(self, place: Location) -> None:
        self.gate = Gate()
        self._place = place
        self._file: int | None = None

    async def try_acquire(self) -> bool:
        """Take the lock if it is free.

        Raises:
            OutputFailed: if the file cannot be written.
        """
        with translate_errors(self._place, OutputFailed, "cannot be locked"):
            path = Path(self._place.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(file, 0)
                os.pwrite(file, this_process().to_json(), 0)
            except BlockingIOError:
                os.close(file)
                return False
            except BaseException:  # nothing else refers to the file yet
                os.close(file)
                raise
        self._file = file
        return True

    async def holder(self) -> Owner | None:
        """Return who wrote the file."""
        return read_owner(self._place.read() or b"")

    async def keep(self) -> None:
        """Wait until cancelled: the system keeps the lock."""
        await asyncio.Event().wait()

    async def release(self) -> None:
        """Close the file, which frees the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def is_locked(place: Location) -> bool:
    """Return whether a process holds the lock; a free lock is shared for an instant.

    Raises:
        OutputFailed: if the file exists and cannot be opened.
    """
    with translate_errors(place, OutputFailed, "cannot be accessed"):
        try:
            file = os.open(place.path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
    return False
