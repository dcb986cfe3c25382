"""The record of a load: `OUTPUT/_loads/<name>.json`, one for each table that OUTPUT is loaded into.

A part is identified by its file's size and the time or version of its last change, so a part that
was rewritten is loaded again. The record is void if the table is another one now, or has fewer rows
than were loaded. With many parts the record is not written after each of them: after a kill, the
parts of some seconds are loaded again.
"""

import logging
import time
from typing import Final

import msgspec
import xxhash
from msgspec import Struct, field

from pipeline.core.errors import OutputFailed
from pipeline.core.events import log_event
from pipeline.output.layout import LOADS_FOLDER
from pipeline.storage.location import Location

_log = logging.getLogger(__name__)

_SECONDS_PER_PART: Final = 0.001
"""Seconds between two writes, by parts; a record of a thousand is written once a second at most."""


class LoadedPart(Struct, frozen=True):
    """A part as it was when it was loaded.

    Attributes:
        file: Its path below OUTPUT.
        state: Size, and time or version, of the file.
        num_rows: Rows that it has in the table.
    """

    file: str
    state: str
    num_rows: int


class _Facts(Struct, kw_only=True):
    to: str
    table: str
    mode: str
    identity: str
    parts: list[LoadedPart] = field(default_factory=list)


class LoadRecord:
    """The record of one OUTPUT and one table; a failed write is logged and does not end the load.

    Args:
        output: OUTPUT's folder.
        to: The address, which holds no credentials.
        table: The table or index.
        mode: `upsert` or `replace`: parts loaded in one mode are loaded again in the other.
    """

    def __init__(self, output: Location, to: str, table: str, mode: str) -> None:
        name = xxhash.xxh3_64_hexdigest("\0".join((to, table, mode)).encode())
        self._file = output.child(LOADS_FOLDER, f"{to.partition(':')[0]}-{name}.json")
        self._facts = _Facts(to=to, table=table, mode=mode, identity="")
        self._loaded: dict[str, LoadedPart] = {}
        self._is_written = True
        self._written_at = 0.0

    @property
    def name(self) -> str:
        """The name of the file, for messages."""
        return self._file.name

    def open(self, identity: str, num_rows: int | None) -> None:
        """Read which parts were loaded into this table before.

        Args:
            identity: Names the table; "" if that is not known.
            num_rows: Its rows; None if that is not known.
        """
        try:
            facts = msgspec.json.decode(self._file.read() or b"", type=_Facts)
        except (msgspec.MsgspecError, OutputFailed):
            facts = self._facts
        loaded = sum(part.num_rows for part in facts.parts)
        is_same = facts.identity == identity and (num_rows is None or num_rows >= loaded)
        self._facts.identity = identity
        self._loaded = {part.file: part for part in facts.parts} if is_same else {}

    def set_identity(self, identity: str) -> None:
        """Record the identity of a table that the load has created."""
        self._facts.identity = identity

    def holds(self, file: str, state: str) -> bool:
        """Return whether this part, in this state, was loaded."""
        part = self._loaded.get(file)
        return part is not None and part.state == state

    def add(self, part: LoadedPart) -> None:
        """Record that a part is loaded."""
        self._loaded[part.file] = part
        self._is_written = False
        if time.monotonic() - self._written_at >= _SECONDS_PER_PART * len(self._loaded):
            self.write()

    def write(self) -> None:
        """Write the record if it has changed since the last time."""
        if self._is_written:
            return
        self._is_written, self._written_at = True, time.monotonic()
        self._facts.parts = list(self._loaded.values())
        try:
            self._file.publish(msgspec.json.format(msgspec.json.encode(self._facts), indent=1))
        except OutputFailed as error:
            log_event(_log, logging.WARNING, "load.not_recorded", error=str(error))
