"""The object that a lease lies in: with conditional writes where obstore is installed.

pyarrow's file systems have no conditional writes at all, so obstore is asked for them; it is an
extra, imported when it is needed.
"""

import asyncio
import hashlib
import importlib.util
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from pipeline.core.errors import OutputFailed
from pipeline.output.lock.lease import LeaseObject, Written
from pipeline.storage.location import Location
from pipeline.storage.object_stores import explain

SETTLE_S = 2.0
"""How long an unconditional write waits before it reads back what stands."""

_TIMEOUT = timedelta(seconds=5)


def lease_object(location: Location) -> LeaseObject:
    """The best form that this machine has for an object at `location`."""
    # An address with options (s3://bucket/path?endpoint_override=...) is pyarrow's own dialect.
    if importlib.util.find_spec("obstore") is None or urlsplit(location.name).query:
        return PlainObject(location)
    return ConditionalObject(location)


class ConditionalObject:
    """Through obstore: the store itself refuses a write over a version that is not expected."""

    def __init__(self, location: Location) -> None:
        import obstore.store

        self._location = location
        address = urlsplit(location.name)
        self._path = address.path.strip("/")
        # Plain http is used only where the environment's endpoint says so.
        with _told(location):
            self._store: Any = obstore.store.from_url(
                f"{'gs' if address.scheme == 'gcs' else address.scheme}://{address.netloc}",
                client_options={"allow_http": True, "timeout": _TIMEOUT},
                # No longer than this: an owner must know in time that it cannot renew.
                retry_config={"max_retries": 1, "retry_timeout": 2 * _TIMEOUT},
            )

    async def read(self) -> Written | None:
        """What lies there; None if there is nothing."""
        with _told(self._location):
            try:
                result = await self._store.get_async(self._path)
                content = bytes(await result.bytes_async())
            except FileNotFoundError:
                return None
            return Written(content, result.meta["e_tag"], result.meta["last_modified"])

    async def write(self, content: bytes, expected: str | None) -> str | None:
        """Replace version `expected` (None: nothing); the new one, or None if another stands."""
        import obstore.exceptions

        mode: Any = "create" if expected is None else {"e_tag": expected}
        with _told(self._location):
            try:
                result = await self._store.put_async(self._path, content, mode=mode)
            except (
                obstore.exceptions.AlreadyExistsError,
                obstore.exceptions.PreconditionError,
            ):
                return None
            except FileNotFoundError:
                if expected is None:  # a new object needs nothing but its bucket
                    raise
                return None
            version: str = result["e_tag"]
            return version

    async def now(self) -> datetime:
        """The time by the store's clock, to the second."""
        probe = f"{self._path}.probe-{uuid.uuid4().hex[:8]}"
        with _told(self._location):
            await self._store.put_async(probe, b"what time is it?")
            meta = await self._store.head_async(probe)
            await self._store.delete_async(probe)
            modified: datetime = meta["last_modified"]
            return modified


class PlainObject:
    """Through pyarrow alone: writes, waits, and looks whose content stands."""

    def __init__(
        self, location: Location, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._location = location
        self._sleep = sleep

    async def read(self) -> Written | None:
        """What lies there; None if there is nothing."""
        return await asyncio.to_thread(self._read)

    async def write(self, content: bytes, expected: str | None) -> str | None:
        """Replace version `expected` (None: nothing); the new one, or None if another stands."""
        there = await self.read()
        if (None if there is None else there.version) != expected:
            return None
        await asyncio.to_thread(self._location.publish, content)
        await self._sleep(SETTLE_S)
        there = await self.read()
        stands = there is not None and there.content == content
        return there.version if there is not None and stands else None

    async def now(self) -> datetime:
        """The time by the store's clock, to the second."""
        return await asyncio.to_thread(self._location.now)

    def _read(self) -> Written | None:
        content = self._location.read()
        modified = self._location.modified()
        if content is None or modified is None:
            return None
        return Written(content, hashlib.sha256(content).hexdigest(), modified)


@contextmanager
def _told(location: Location) -> Iterator[None]:
    """Translate obstore's errors into ours, in one place."""
    import obstore.exceptions

    try:
        yield
    except (obstore.exceptions.BaseError, OSError) as error:
        cause, cure = explain(str(error))
        what = f"lock cannot be written: {cause}"
        raise OutputFailed(what, which=location.name, cure=cure) from error
