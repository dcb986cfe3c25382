"""A run's pace changed while it goes on: `OUTPUT/_pace.json`, written by whoever watches the run.

    {"requests_per_minute": 1200, "tokens_per_minute": 500000, "max_in_flight": 64}

What it names replaces the settings, what it does not name stays as they say, and null lifts a
limit. Once it is removed the settings hold again. A file that cannot be understood changes nothing.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec.structs import asdict, replace

from pipeline.core.errors import OutputFailed, SettingsError, shorten
from pipeline.core.settings import Pace
from pipeline.storage.location import Location

log = logging.getLogger(__name__)

PACE_NAME = "_pace.json"
LOOK_EVERY_S = 2.0

_WHOLE = ("max_in_flight", "max_documents_in_flight")
_NEEDED = ("max_in_flight",)
_FILE = "pace file"
_NO_LIMIT = 1e15  # more a minute than any service serves


class PaceFile:
    """Follows the file of one output.

    Args:
        output: The output folder.
        pace: What the settings say.
        change: Is given each new pace.
        sleep: Waits between two looks.
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
        self._out_of_reach = False

    async def follow(self) -> None:
        """Look at the file for ever, at once and then every two seconds."""
        while True:
            await self.look()
            await self._sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Apply the file's content if it is another than at the last look."""
        try:
            content = await asyncio.to_thread(self._file.read)
        except OutputFailed as failure:
            if not self._out_of_reach:
                log.warning("pace.unread error=%s", failure)
            self._out_of_reach = True
            return
        self._out_of_reach = False
        if content == self._content:
            return
        self._content = content
        try:
            pace = self._settings if content is None else read_pace(content, self._settings)
        except SettingsError as error:
            log.warning("pace.ignored file=%s error=%s", self._file.name, error)
            return
        if pace != self._pace:
            self._pace = pace
            self._change(pace)
            source = "settings" if content is None else self._file.name
            log.info("pace.changed %s by=%s", _shown(pace), source)


def read_pace(content: bytes, settings: Pace) -> Pace:
    """The pace that a file asks for, with the rest as the settings say.

    Raises:
        SettingsError: if it is not a JSON object of limits, each above 0 or null.
    """
    try:
        limits = json.loads(content)
    except ValueError as error:  # Unicode's and JSON's
        raise SettingsError("not JSON", which=_FILE, cure=shorten(str(error), 80)) from error
    if not isinstance(limits, dict):
        raise SettingsError("not a JSON object", which=_FILE, found=type(limits).__name__)
    names = list(asdict(settings))
    if unknown := [shorten(str(name), 40) for name in limits if name not in names]:
        raise SettingsError(
            "unknown names", which=_FILE, found=", ".join(unknown), expected=", ".join(names)
        )
    for name, value in limits.items():
        if not _is_limit(name, value):
            whole = "a whole number" if name in _WHOLE else "a number"
            expected = f"{whole} above 0" + ("" if name in _NEEDED else " or null")
            found = shorten(json.dumps(value), 40)
            raise SettingsError(f"impossible {name}", which=_FILE, found=found, expected=expected)
    return replace(settings, **limits)


def _is_limit(name: str, value: Any) -> bool:
    if value is None:
        return name not in _NEEDED
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < _NO_LIMIT and (isinstance(value, int) or name not in _WHOLE)


def _shown(pace: Pace) -> str:
    return " ".join(
        f"{name}={'none' if value is None else f'{value:g}'}"
        for name, value in asdict(pace).items()
    )
