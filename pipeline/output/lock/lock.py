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

from pipeline.core.background import background
from pipeline.core.errors import OutputBusy, OutputFailed
from pipeline.core.events import log_event
from pipeline.core.gate import Gate
from pipeline.core.shard import Shard
from pipeline.output.lock.lease import LeaseTimes
from pipeline.output.lock.output_lock import Lock, OutputLock, opening_lock
from pipeline.output.lock.owner_process import Owner
from pipeline.storage.location import Location

_log = logging.getLogger(__name__)

LOCAL_POLL_S, REMOTE_POLL_S = 0.25, 5.0
"""Seconds between two attempts at a lock that another run holds."""

_LONGEST_OPENING_S = 6 * 3_600.0
"""Preparing a large input takes long."""


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
        shard: The share of it to hold; None for the whole output.
        wait_s: How long to wait for another run, in seconds.
        max_outage_s: For how long it may be out of reach.
        lock: How to hold it; by default as suits the place.
        is_brief: Whether a wait for others is usual, and not worth a warning.
        sleep: Waits between two attempts.

    Yields:
        A gate that is open while the output is certainly held.

    Raises:
        OutputBusy: if another run holds it for longer than `wait_s`, or if it is lost meanwhile:
            then the body is cancelled.
        OutputFailed: if the lock cannot be written, or not be renewed for too long.
    """
    lock = lock or OutputLock(output, shard, LeaseTimes(outage_s=max_outage_s))
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
    """Let one shard at a time do the work that all shards share; wait for the others.

    Raises:
        OutputBusy: if it takes hours.
        OutputFailed: as `hold_output` does.
    """
    lock = opening_lock(output, LeaseTimes(outage_s=max_outage_s))
    async with hold_output(output, wait_s=_LONGEST_OPENING_S, lock=lock, is_brief=True):
        yield


class _LockLost(Exception):
    """Another run may hold the output now."""


async def _keep(lock: Lock) -> None:
    """Keep the lock; raise at once when it is lost."""
    try:
        await lock.keep()
    except Exception as error:  # whatever it is, nobody renews the lock any more
        raise _LockLost from error
    raise _LockLost


async def _holder_if_reachable(lock: Lock) -> Owner | None:
    try:
        return await lock.holder()
    except OutputFailed:  # the lock may be lost because the store is out of reach
        return None


def _busy(what: str, output: Location, holder: Owner | None) -> OutputBusy:
    return OutputBusy(
        what,
        which=output.name,
        found=_shown(holder),
        cure="wait for that run with --lock-wait SECONDS, or choose another OUTPUT",
    )


def _shown(holder: Owner | None) -> str:
    return "an unknown owner" if holder is None else str(holder)
