"""The lock of an output on an object store: a lease that its owner renews and anyone else reads.

The owner writes the lease anew every 15 s. It has expired when its last write is 60 s old by the
store's own clock: a probe object written now tells what time it is there, so no two machines'
clocks are ever compared. The lease of a process of this machine that is gone is free at once.
Every write is conditional on the version last seen, so of two runs that find an expired lease one
gets it; an owner that was asleep finds out at its next write. It gives up by itself before others
may take over.

With the extra `s3` (obstore) the condition is checked by the store. Without it a write is followed
by reading back after a pause, which leaves a small window.
"""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from pipeline.core.errors import OutputFailed
from pipeline.output.lock.owner_process import is_gone

RENEW_S, RETRY_S, GIVE_UP_S, EXPIRE_S = 15.0, 5.0, 45.0, 60.0

_log = logging.getLogger(__name__)


class Written(Struct, frozen=True):
    """What lies in the lease's object: content, version, and when it was written there."""

    content: bytes
    version: str
    modified: datetime


class LeaseObject(Protocol):
    """One object that can be written on the condition that nobody else did meanwhile."""

    async def read(self) -> Written | None:
        """What lies there; None if there is nothing."""

    async def write(self, content: bytes, expected: str | None) -> str | None:
        """Replace version `expected` (None: nothing); the new one, or None if another stands."""

    async def now(self) -> datetime:
        """The time by the store's clock."""


class Lease:
    """One run's claim to an output.

    Args:
        place: Where the lease lies.
        owner: Who claims it, for the message that others see.
        sleep: Waits between renewals.
        monotonic: Seconds of this machine, never going back.
    """

    def __init__(
        self,
        place: LeaseObject,
        owner: Mapping[str, Any],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place
        self._owner = dict(owner) | {"lease": uuid.uuid4().hex}
        self._sleep = sleep
        self._monotonic = monotonic
        self._version: str | None = None
        self._renewals = 0

    async def take(self) -> bool:
        """Take the lease if it is free or has expired.

        Raises:
            OutputFailed: if the store cannot be reached.
        """
        there = await self._place.read()
        if there is not None and not await self._is_free(there):
            return False
        return await self._write(None if there is None else there.version)

    async def holder(self) -> bytes:
        """Who holds it, as it was written."""
        there = await self._place.read()
        return b"" if there is None else there.content

    async def keep(self) -> None:
        """Renew the lease for ever; returns when it is lost."""
        renewed = self._monotonic()
        pause_s = RENEW_S
        while True:
            await self._sleep(pause_s)
            self._renewals += 1
            try:
                if not await self._write(self._version):
                    return
                renewed = self._monotonic()
                pause_s = RENEW_S
            except OutputFailed:
                if self._monotonic() - renewed > GIVE_UP_S:
                    return
                pause_s = RETRY_S

    async def release(self) -> None:
        """Mark the lease as free, if it is still ours; the object stays, so nothing is raced."""
        self._owner["released"] = True
        try:
            await self._write(self._version)
        except OutputFailed as failure:  # the work is done, and the lease expires by itself
            _log.warning("lease.not_released error=%s", failure)

    async def _is_free(self, there: Written) -> bool:
        facts = read_owner(there.content)
        if facts.get("released") or is_gone(facts):
            return True
        age = await self._place.now() - there.modified
        return age.total_seconds() > EXPIRE_S

    async def _write(self, expected: str | None) -> bool:
        content = json.dumps(self._owner | {"renewals": self._renewals}).encode()
        version = await self._place.write(content, expected)
        if version is None:
            # An earlier write of ours may have arrived although its answer did not.
            there = await self._place.read()
            if there is None or read_owner(there.content).get("lease") != self._owner["lease"]:
                return False
            version = await self._place.write(content, there.version)
        self._version = version or self._version
        return version is not None


def read_owner(content: bytes) -> dict[str, Any]:
    """What the owner wrote, by name; nothing if it cannot be understood."""
    try:
        facts = json.loads(content)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
