"""The lock of an output on an object store: a lease that its owner renews and others can read.

The owner rewrites the lease every 15 s. The lease expires 60 s after its last write by the store's
own clock: a probe object written now tells the time there, so clocks of two machines are never
compared. The lease of a process of this machine that has ended is free at once. Every write is
conditional on the version last seen, so of two runs that find an expired lease one gets it, and an
owner that slept finds out at its next write.

An owner that cannot renew closes its gate before others may take over, so that it neither pays nor
writes. It goes on trying: once it can write its own version again, nobody has taken the lease and
the gate opens; if another version is there, the lease is lost.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from pipeline.core.errors import OutputFailed
from pipeline.core.events import log_event
from pipeline.core.gate import Gate
from pipeline.output.lock.owner_process import Owner, has_ended, read_owner
from pipeline.storage.files import StoredObject, Version

_log = logging.getLogger(__name__)


class LeaseTimes(Struct, frozen=True):
    """When a lease is renewed and when it ends, in seconds.

    Attributes:
        renew_s: Time between two renewals.
        retry_s: Time until a renewal that failed is tried again.
        doubt_s: Time since the last renewal after which an owner stops acting as one; less than
            `expire_s`.
        expire_s: Time since the last renewal after which others may take over.
        outage_s: Time since the last renewal after which an owner gives up.
    """

    renew_s: float = 15.0
    retry_s: float = 5.0
    doubt_s: float = 45.0
    expire_s: float = 60.0
    outage_s: float = 600.0


class LeaseObject(Protocol):
    """An object that is replaced only in an expected version; raises OutputFailed."""

    async def read(self) -> StoredObject | None:
        """Return what is stored; None if there is nothing."""

    async def write(self, content: bytes, expected: Version | None) -> Version | None:
        """Replace version `expected` (None: nothing); None if another one is stored."""

    async def now(self) -> datetime:
        """Return the time by the store's clock."""


class Lease:
    """One run's claim to an output.

    Args:
        place: Where the lease is stored.
        owner: Who claims it.
        times: When it is renewed and when it ends.
        sleep: Waits between renewals.
        monotonic: Seconds on this machine, never going back.

    Attributes:
        gate: Open while no other run can hold the lease.
    """

    def __init__(
        self,
        place: LeaseObject,
        owner: Owner,
        *,
        times: LeaseTimes | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gate = Gate()
        self._place = place
        self._owner = replace(owner, lease=uuid.uuid4().hex)
        self._times = times or LeaseTimes()
        self._sleep = sleep
        self._monotonic = monotonic
        self._version: Version | None = None

    async def try_acquire(self) -> bool:
        """Take the lease if it is free or has expired.

        Raises:
            OutputFailed: if the store refuses or cannot be reached.
        """
        stored = await self._place.read()
        if stored is not None and not await self._is_free(stored):
            return False
        return await self._write(None if stored is None else stored.version)

    async def holder(self) -> Owner | None:
        """Return who holds the lease; None if nobody is known to."""
        stored = await self._place.read()
        return None if stored is None else read_owner(stored.content)

    async def keep(self) -> None:
        """Renew the lease until it is lost, then return.

        Raises:
            OutputFailed: if it could not be renewed for too long.
        """
        renewed = self._monotonic()
        pause_s = self._times.renew_s
        while True:
            await self._sleep(pause_s)
            self._owner = replace(self._owner, renewals=self._owner.renewals + 1)
            try:
                if not await self._write(self._version):
                    return
                if not self.gate.is_open:
                    log_event(_log, logging.WARNING, "lease.renewed", held=True)
                renewed = self._monotonic()
                self.gate.open()
                pause_s = self._times.renew_s
            except OutputFailed as failure:
                log_event(_log, logging.WARNING, "lease.not_renewed", error=str(failure))
                unrenewed_s = self._monotonic() - renewed
                if unrenewed_s > max(self._times.outage_s, self._times.doubt_s):
                    raise
                if unrenewed_s > self._times.doubt_s:
                    self.gate.close()
                pause_s = self._times.retry_s

    async def release(self) -> None:
        """Mark the lease as free, if it is still ours; the object stays."""
        self._owner = replace(self._owner, released=True)
        try:
            await self._write(self._version)
        except OutputFailed as failure:  # the work is done, and the lease expires by itself
            log_event(_log, logging.WARNING, "lease.not_released", error=str(failure))

    async def _is_free(self, stored: StoredObject) -> bool:
        owner = read_owner(stored.content)
        if owner is not None and (owner.released or has_ended(owner)):
            return True
        age = await self._place.now() - stored.modified
        return age.total_seconds() > self._times.expire_s

    async def _write(self, expected: Version | None) -> bool:
        content = self._owner.to_json()
        version = await self._place.write(content, expected)
        if version is None:
            # An earlier write of ours may have arrived although its answer did not.
            stored = await self._place.read()
            owner = None if stored is None else read_owner(stored.content)
            if stored is None or owner is None or owner.lease != self._owner.lease:
                return False
            version = await self._place.write(content, stored.version)
        self._version = version or self._version
        return version is not None
