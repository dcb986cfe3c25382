"""One writer per output: the operating system's lock on this machine, a lease on an object store.

The system's lock (flock) dies with its process, so a dead run never blocks the next; on network
file systems it is the server's. A lease can be lost while its run goes on (the machine slept, the
store was out of reach): then the run is cancelled, and ends with `OutputBusy`.
"""

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from pipeline.core.errors import OutputBusy, OutputFailed
from pipeline.output.lock.lease import EXPIRE_S, Lease, read_owner
from pipeline.output.lock.lease_store import lease_object
from pipeline.output.lock.owner_process import is_gone, this_process
from pipeline.storage.location import Location, told

log = logging.getLogger(__name__)

LOCK_NAME = "_lock"
LOCAL_POLL_S, REMOTE_POLL_S = 0.25, 5.0


class Hold(Protocol):
    """A way to hold an output."""

    async def take(self) -> bool:
        """Take it if it is free."""

    async def holder(self) -> bytes:
        """Who holds it: a JSON object, or nothing."""

    async def keep(self) -> None:
        """Hold it; returns only if it is lost."""

    async def release(self) -> None:
        """Give it free."""


class OutputLock:
    """Holds the output for this run: `async with OutputLock(output, wait_s=0)`.

    Args:
        output: The output folder; a local one is created.
        wait_s: How long to wait for another run, in seconds.
        hold: How to hold it; by default as suits where the output lies.
        sleep: Waits between two tries.
    """

    def __init__(
        self,
        output: Location,
        *,
        wait_s: float = 0.0,
        hold: Hold | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._output = output
        self._wait_s = wait_s
        self._sleep = sleep
        self._poll_s = LOCAL_POLL_S if output.is_local else REMOTE_POLL_S
        self._hold = hold or _hold(output)
        self._lost: OutputBusy | None = None

    async def __aenter__(self) -> Self:
        """Take the output.

        Raises:
            OutputBusy: if another run holds it for longer than `wait_s`.
            OutputFailed: if the lock cannot be written.
        """
        waited_s = 0.0
        while not await self._hold.take():
            if waited_s >= self._wait_s:
                raise self._busy("another run holds this output", await self._hold.holder())
            if not waited_s:
                log.warning(
                    "output.busy waits_up_to_s=%.0f holder=%s",
                    *(self._wait_s, _told_holder(await self._hold.holder())),
                )
            pause_s = min(self._poll_s, self._wait_s - waited_s)
            await self._sleep(pause_s)
            waited_s += pause_s
        owner = asyncio.current_task()
        assert owner is not None
        self._owner = owner
        self._cancelling = owner.cancelling()
        self._keeper = asyncio.create_task(self._keep(), name="output-lock")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the output free.

        Raises:
            OutputBusy: if it was lost meanwhile.
        """
        if self._lost is None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            await self._hold.release()
        # As asyncio.timeout does: our own cancellation becomes our error, another's goes on.
        elif self._owner.uncancel() <= self._cancelling and kind in (None, asyncio.CancelledError):
            raise self._lost from error

    async def _keep(self) -> None:
        await self._hold.keep()
        try:
            holder = await self._hold.holder()
        except OutputFailed:  # out of reach, which may be why it was lost
            holder = b""
        self._lost = self._busy("the hold on this output was lost", holder)
        self._owner.cancel()

    def _busy(self, what: str, holder: bytes) -> OutputBusy:
        return OutputBusy(
            what,
            which=self._output.name,
            found=_told_holder(holder),
            cure="wait for that run with --lock-wait SECONDS, or choose another OUTPUT",
        )


class FileLock:
    """flock on a file; it stays when the lock is free, else two runs could lock two files.

    Args:
        output: A local folder; it is created.
    """

    def __init__(self, output: Location) -> None:
        self._lock = output.child(LOCK_NAME)
        self._file: int | None = None

    async def take(self) -> bool:
        """Take the lock if it is free.

        Raises:
            OutputFailed: if the file cannot be written.
        """
        with told(self._lock, OutputFailed, "cannot be locked"):
            path = Path(self._lock.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(file, 0)
                os.pwrite(file, json.dumps(this_process()).encode(), 0)
            except BlockingIOError:
                os.close(file)
                return False
            except BaseException:  # nobody else knows the handle
                os.close(file)
                raise
        self._file = file
        return True

    async def holder(self) -> bytes:
        """What the holder wrote into the file."""
        return self._lock.read() or b""

    async def keep(self) -> None:
        """The system keeps it."""
        await asyncio.Event().wait()

    async def release(self) -> None:
        """Close the file, which frees the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def is_held(output: Location) -> bool:
    """Whether a run holds the output.

    Where a local lock is free it is shared for an instant, so ask only about a run that says it is
    running: then nobody is kept out but the next run, in that instant. On an object store nothing
    is written, so there the age of another machine's lease is taken by this one's clock.

    Raises:
        OutputFailed: if the lock is there and cannot be looked at.
    """
    lock = output.child(LOCK_NAME)
    if not output.is_local:
        return _is_leased(lock)
    with told(lock, OutputFailed, "cannot be looked at"):
        try:
            file = os.open(lock.path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
    return False


def _is_leased(lock: Location) -> bool:
    owner, written = read_owner(lock.read() or b""), lock.modified()
    if written is None or owner.get("released") or is_gone(owner):
        return False
    # A clock that is behind the store's makes the age negative; it is no sign of life for ever.
    return abs((datetime.now(UTC) - written).total_seconds()) < EXPIRE_S


def _hold(output: Location) -> Hold:
    if output.is_local:
        return FileLock(output)
    return Lease(lease_object(output.child(LOCK_NAME)), this_process())


def _told_holder(holder: bytes) -> str:
    facts = read_owner(holder)
    try:
        return f"process {facts['pid']} on {facts['host']}, since {facts['since']}"
    except KeyError:
        return "an unknown owner"
