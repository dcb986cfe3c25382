"""One writer per output: an operating system's lock on disk, a lease on an object store.

The system's lock (flock) ends with its process, so a dead run never blocks the next; on a network
file system it is the server's. A lease can be lost while its run goes on, if another run took it
while the machine slept or the store was out of reach: then the run is cancelled and ends with
`OutputBusy`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol

from pipeline.core.background import background
from pipeline.core.errors import OutputBusy, OutputFailed
from pipeline.core.events import log_event
from pipeline.core.gate import Gate
from pipeline.core.shard import Shard
from pipeline.output.layout import LOCK_NAME, LOCKS_FOLDER
from pipeline.output.lock.file_lock import FileLock, is_locked
from pipeline.output.lock.lease import Lease, LeaseTimes
from pipeline.output.lock.owner_process import Owner, has_ended, read_owner, this_process
from pipeline.storage.location import Location

_log = logging.getLogger(__name__)

LOCAL_POLL_S, REMOTE_POLL_S = 0.25, 5.0
"""Between two tries to take a lock that another run holds."""

_OPENING = "opening"
_LONGEST_OPENING_S = 6 * 3_600.0
"""To make a large input ready takes long."""


class Lock(Protocol):
    """A way to hold an output."""

    @property
    def gate(self) -> Gate:
        """Open while it is certainly held; while it is closed, nothing may be paid or written."""

    async def try_acquire(self) -> bool:
        """Take it if it is free."""

    async def holder(self) -> Owner | None:
        """Return who holds it, if that is known."""

    async def keep(self) -> None:
        """Hold it; return only if it is lost."""

    async def release(self) -> None:
        """Give it up."""


@asynccontextmanager
async def hold_output(
    output: Location,
    *,
    shard: Shard | None = None,
    wait_s: float = 0.0,
    max_outage_s: float = 600.0,
    lock: Lock | None = None,
    is_brief: bool = False,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Gate]:
    """Hold the output while the body runs.

    Args:
        output: The output folder; a local one is created.
        shard: The share of it that is held; None for the whole of it.
        wait_s: How long to wait for another run, in seconds.
        max_outage_s: For how long it may be out of reach.
        lock: How to hold it; by default as suits the place.
        is_brief: To wait for others is usual, and not worth a warning.
        sleep: Waits between two tries.

    Yields:
        A gate that is open while the output is certainly held.

    Raises:
        OutputBusy: if another run holds it for longer than `wait_s`, or if it is lost meanwhile:
            then the body is cancelled.
        OutputFailed: if the lock cannot be written, or not be renewed for too long.
    """
    lock = lock or _OneOfSeveral(output, shard, LeaseTimes(outage_s=max_outage_s))
    waited_s = 0.0
    while not await lock.try_acquire():
        holder = await lock.holder()
        if waited_s >= wait_s:
            what = "output" if shard is None else f"output, or its shard {shard}"
            raise _busy(f"another run holds this {what}", output, holder)
        if not waited_s and not is_brief:
            log_event(
                _log, logging.WARNING, "output.busy", waiting_up_to_s=wait_s, holder=_shown(holder)
            )
        pause_s = min(LOCAL_POLL_S if output.is_local else REMOTE_POLL_S, wait_s - waited_s)
        await sleep(pause_s)
        waited_s += pause_s
    try:
        async with background(_keep(lock), name="output-lock") as keeping:
            yield lock.gate
    except _LockLost as lost:
        if isinstance(lost.__cause__, OutputFailed):
            raise lost.__cause__ from None
        # Asked only now that the body has ended: until then it could have written.
        holder = await _holder_if_reachable(lock)
        raise _busy("the lock on this output was lost", output, holder) from lost.__cause__
    finally:
        if keeping.cancelled():  # else the lock was lost
            await lock.release()


@asynccontextmanager
async def hold_opening(output: Location, *, max_outage_s: float = 600.0) -> AsyncIterator[None]:
    """Let one shard after the other do what all of them need once; waits for the others.

    Raises:
        OutputBusy: if it takes hours.
        OutputFailed: as `hold_output` does.
    """
    lock = _lock(output.child(LOCKS_FOLDER, _OPENING), LeaseTimes(outage_s=max_outage_s))
    async with hold_output(output, wait_s=_LONGEST_OPENING_S, lock=lock, is_brief=True):
        yield


class _OneOfSeveral:
    """The lock of a whole output or of a shard, which exclude each other.

    Who has taken a lock looks for others afterwards, and gives it up if there are any: two that
    begin at once may both do so, but never go on both.
    """

    def __init__(self, output: Location, shard: Shard | None, times: LeaseTimes) -> None:
        self._output = output
        self._shard = shard
        self._times = times
        self._lock = _lock(_place(output, shard), times)
        self._in_the_way: Location | None = None

    @property
    def gate(self) -> Gate:
        return self._lock.gate

    async def try_acquire(self) -> bool:
        self._in_the_way = None
        if not await self._lock.try_acquire():
            return False
        is_free = False
        try:
            self._in_the_way = await asyncio.to_thread(
                _held_rival, self._output, self._shard, self._times
            )
            is_free = self._in_the_way is None
        finally:
            if not is_free:
                await self._lock.release()
        return is_free

    async def holder(self) -> Owner | None:
        if self._in_the_way is not None:
            content = await asyncio.to_thread(self._in_the_way.read)
            return read_owner(content or b"")
        return await self._lock.holder()

    async def keep(self) -> None:
        await self._lock.keep()

    async def release(self) -> None:
        await self._lock.release()


def _place(output: Location, shard: Shard | None) -> Location:
    if shard is None:
        return output.child(LOCK_NAME)
    return output.child(LOCKS_FOLDER, f"{shard.index}-of-{shard.count}")


def _shard_locks(output: Location) -> list[Location]:
    folder = output.child(LOCKS_FOLDER)
    names = [info.base_name for info in folder.children()]
    return [folder.child(name) for name in names if "-of-" in name]


def _held_rival(output: Location, shard: Shard | None, times: LeaseTimes) -> Location | None:
    """Return a lock that another run holds and must not: a shard's, if its number is another."""
    rivals = _shard_locks(output)
    if shard is not None:
        same = f"-of-{shard.count}"
        others = [one for one in rivals if not one.path.endswith(same)]
        rivals = [output.child(LOCK_NAME), *others]
    return next((one for one in rivals if _is_held(one, times)), None)


class _LockLost(Exception):
    """Another run may hold the output now."""


async def _keep(lock: Lock) -> None:
    """Hold the lock; raise at once when it is lost."""
    try:
        await lock.keep()
    except Exception as error:  # whatever it is, nobody renews the lock any more
        raise _LockLost from error
    raise _LockLost


async def _holder_if_reachable(lock: Lock) -> Owner | None:
    try:
        return await lock.holder()
    except OutputFailed:  # out of reach, which may be why the lock was lost
        return None


def is_held(output: Location, *, times: LeaseTimes | None = None) -> bool:
    """Return whether a run holds the output, or a shard of it.

    A free local lock is shared for an instant, which can keep out a run that starts just then: ask
    only about a run whose record says that it is running. On an object store nothing is written,
    so the age of another machine's lease is judged by this machine's clock.

    Raises:
        OutputFailed: if the lock exists and cannot be read.
    """
    places = [output.child(LOCK_NAME), *_shard_locks(output)]
    return any(_is_held(place, times or LeaseTimes()) for place in places)


def _is_held(place: Location, times: LeaseTimes) -> bool:
    if place.is_local:
        return is_locked(place)
    owner, written = read_owner(place.read() or b""), place.modified()
    if written is None or (owner is not None and (owner.released or has_ended(owner))):
        return False
    # A clock behind the store's makes the age negative, which must not mean alive for ever.
    age_s = abs((datetime.now(UTC) - written).total_seconds())
    return age_s < times.expire_s


def _lock(place: Location, times: LeaseTimes) -> Lock:
    if place.is_local:
        return FileLock(place)
    # obstore, which it imports, is an extra.
    from pipeline.storage.conditional import ConditionalObject
    from pipeline.storage.object_stores import Timeouts

    # Short timeouts: an owner must know in time that it cannot renew.
    timeouts = Timeouts(silence_s=5.0, request_s=5.0, retry_s=10.0, max_retries=1)
    return Lease(ConditionalObject(place, timeouts), this_process(), times=times)


def _busy(what: str, output: Location, holder: Owner | None) -> OutputBusy:
    return OutputBusy(
        what,
        which=output.name,
        found=_shown(holder),
        cure="wait for that run with --lock-wait SECONDS, or choose another OUTPUT",
    )


def _shown(holder: Owner | None) -> str:
    return "an unknown owner" if holder is None else str(holder)
