"""One object of an object store, replaced only in the version that was last seen."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from msgspec.structs import asdict
from obstore.exceptions import AlreadyExistsError, PreconditionError

from pipeline.core.errors import OutputFailed
from pipeline.storage.errors import translate_errors
from pipeline.storage.files import StoredObject, Version
from pipeline.storage.location import Location
from pipeline.storage.object_errors import store_errors
from pipeline.storage.object_stores import Timeouts, connect


class ConditionalObject:
    """An object whose store refuses to replace a version that is not expected.

    All methods raise OutputFailed if the store refuses the call or does not answer.

    Args:
        location: Where the object is.
        timeouts: How long one call may take.
    """

    def __init__(self, location: Location, timeouts: Timeouts) -> None:
        self._location = location
        scheme, _, path = location.name.partition("://")
        bucket, _, self._key = path.partition("/")
        self._store: Any = connect(f"{scheme}://{bucket}", timeouts)

    async def read(self) -> StoredObject | None:
        """Return what is stored; None if there is no such object."""
        with self._errors("cannot be read"):
            try:
                result = await self._store.get_async(self._key)
                content = bytes(await result.bytes_async())
            except FileNotFoundError:
                return None
            return StoredObject(content, _version(result.meta), result.meta["last_modified"])

    async def write(self, content: bytes, expected: Version | None) -> Version | None:
        """Replace version `expected`; None expects that there is no such object.

        Returns:
            The new version; None if another one is stored.
        """
        mode: Any = "create"
        if expected is not None:
            mode = {name: value for name, value in asdict(expected).items() if value is not None}
        with self._errors("cannot be written"):
            try:
                result = await self._store.put_async(
                    self._key, content, mode=mode, use_multipart=False
                )
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError:
                if expected is None:  # a new object needs nothing but its bucket
                    raise
                return None
            return _version(result)

    async def now(self) -> datetime:
        """Return the time by the store's clock, to the second: that of an object written now."""
        probe = f"{self._key}.probe-{uuid.uuid4().hex[:8]}"
        with self._errors("cannot be written"):
            await self._store.put_async(probe, b"clock probe")
            meta = await self._store.head_async(probe)
            await self._store.delete_async(probe)
            modified: datetime = meta["last_modified"]
            return modified

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        with translate_errors(self._location, OutputFailed, what), store_errors():
            yield


def _version(facts: Any) -> Version:
    return Version(facts["e_tag"], facts["version"])
