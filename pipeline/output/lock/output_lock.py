"""The locks of an output, of its shards and of its opening: where they are, and who holds one."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Protocol

from pipeline.core.gate import Gate
from pipeline.core.shard import Shard
from pipeline.output.layout import LOCK_NAME, LOCKS_FOLDER
from pipeline.output.lock.file_lock import FileLock, is_locked
from pipeline.output.lock.lease import Lease, LeaseTimes
from pipeline.output.lock.owner_process import Owner, has_ended, read_owner, this_process
from pipeline.storage.location import Location

_OPENING = "opening"
_SHARD_LOCK = re.compile(r"\d+-of-\d+")
"""The probes of a shard's lease bear another name; they are no locks."""


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


class OutputLock:
    """The lock of a whole output or of a shard, which exclude each other.

    A run that has taken a lock then looks for rivals, and gives the lock up if there are any. Of
    two that begin at once both may give up, but never do both continue.
    """

    def __init__(self, output: Location, shard: Shard | None, times: LeaseTimes) -> None:
        self._output = output
        self._shard = shard
        self._times = times
        self._lock = _lock(_place(output, shard), times)
        self._in_the_way: Location | None = None

    @property
    def gate(self) -> Gate:
        """Open while it is certainly held."""
        return self._lock.gate

    async def try_acquire(self) -> bool:
        """Take the lock if neither it nor a rival is held."""
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
        """Return who holds the lock, or a rival of it, if that is known."""
        if self._in_the_way is not None:
            content = await asyncio.to_thread(self._in_the_way.read)
            return read_owner(content or b"")
        return await self._lock.holder()

    async def keep(self) -> None:
        """Hold it; return only if it is lost."""
        await self._lock.keep()

    async def release(self) -> None:
        """Give it up."""
        await self._lock.release()


def _place(output: Location, shard: Shard | None) -> Location:
    if shard is None:
        return output.child(LOCK_NAME)
    return output.child(LOCKS_FOLDER, f"{shard.index}-of-{shard.count}")


def _shard_locks(output: Location) -> list[Location]:
    folder = output.child(LOCKS_FOLDER)
    names = [info.base_name for info in folder.children()]
    return [folder.child(name) for name in names if _SHARD_LOCK.fullmatch(name)]


def _held_rival(output: Location, shard: Shard | None, times: LeaseTimes) -> Location | None:
    """Return a lock held by another run that excludes ours: shards of one count share an output."""
    rivals = _shard_locks(output)
    if shard is not None:
        same = f"-of-{shard.count}"
        others = [one for one in rivals if not one.path.endswith(same)]
        rivals = [output.child(LOCK_NAME), *others]
    return next((one for one in rivals if _is_held(one, times)), None)


def opening_lock(output: Location, times: LeaseTimes) -> Lock:
    """Return the lock for the work that all shards share and one of them does."""
    return _lock(output.child(LOCKS_FOLDER, _OPENING), times)


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
    # A clock behind the store's makes the age negative; the lease must still expire.
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
