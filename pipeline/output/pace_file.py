"""The pace of a running job, changed by its operator: `OUTPUT/_pace.json`.

    {"requests_per_minute": 1200, "tokens_per_minute": 500000, "max_in_flight": 64}

A value in the file replaces the setting, null lifts the limit, and a name that is left out keeps
its setting. A limit of 0 pauses the job. Once the file is removed the settings apply again. An
invalid file changes nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict, replace

from pipeline.core.errors import OutputFailed, SettingsError
from pipeline.core.events import log_event
from pipeline.core.settings import Pace
from pipeline.output.layout import PACE_NAME
from pipeline.storage.location import Location

_log = logging.getLogger(__name__)

POLL_S: Final = 2.0

_Rate: TypeAlias = Annotated[float, Meta(ge=0, lt=1e15)]
_Count: TypeAlias = Annotated[int, Meta(ge=0)]


class PaceChange(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a pace file: the limits of a `Pace`; None is no limit, 0 pauses."""

    requests_per_minute: _Rate | UnsetType | None = UNSET
    tokens_per_minute: _Rate | UnsetType | None = UNSET
    max_in_flight: _Count | UnsetType = UNSET
    max_documents_in_flight: _Count | UnsetType | None = UNSET


class PaceFile:
    """Follows the pace file of one output.

    Args:
        output: The output folder.
        pace: The pace by the settings.
        change: Called with each new pace.
        sleep: Waits between two reads.
    """

    def __init__(
        self,
        output: Location,
        pace: Pace,
        change: Callable[[Pace], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._file = output.child(PACE_NAME)
        self._settings = self._pace = pace
        self._change = change
        self._sleep = sleep
        self._content: bytes | None = None
        self._is_unreadable = False

    async def follow(self) -> None:
        """Apply the file at once and then every two seconds, for ever."""
        while True:
            await self.poll()
            await self._sleep(POLL_S)

    async def poll(self) -> None:
        """Apply the file's content if it has changed."""
        try:
            content = await asyncio.to_thread(self._file.read)
        except OutputFailed as failure:
            if not self._is_unreadable:
                log_event(_log, logging.WARNING, "pace.not_read", error=str(failure))
            self._is_unreadable = True
            return
        self._is_unreadable = False
        if content == self._content:
            return
        self._content = content
        try:
            pace = self._settings if content is None else read_pace(content, self._settings)
        except SettingsError as error:
            log_event(_log, logging.WARNING, "pace.ignored", file=self._file.name, error=str(error))
            return
        if pace != self._pace:
            self._pace = pace
            self._change(pace)
            source = "settings" if content is None else self._file.name
            if pace.is_paused:
                log_event(_log, logging.WARNING, "pace.paused", by=source)
                return
            limits = {name: _short(getattr(pace, name)) for name in Pace.limit_names()}
            log_event(_log, logging.INFO, "pace.changed", **limits, by=source)


def read_pace(content: bytes, settings: Pace) -> Pace:
    """Return the pace that a file asks for, with the settings for what it leaves out.

    It is paused if one of the limits is 0.

    Raises:
        SettingsError: if it is not a JSON object of limits, each a number or null.
    """
    try:
        change = msgspec.json.decode(content, type=PaceChange)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"invalid: {error}", which="pace file", expected=", ".join(Pace.limit_names())
        ) from error
    given = {name: value for name, value in asdict(change).items() if value is not UNSET}
    limits = {name: value for name, value in given.items() if value != 0}
    return replace(settings, **limits, is_paused=len(limits) < len(given))


def _short(value: float | None) -> float | None:
    """Return 60 for 60.0, as people write it."""
    return int(value) if value is not None and value == int(value) else value
