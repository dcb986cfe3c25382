"""Remove what killed runs leave in an output or a score store: half-written files and probes.

They take next to no space and are not read. They are removed once they are so old that no run can
still use them.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from pipeline.storage.files import FileInfo
from pipeline.storage.local_files import is_unfinished
from pipeline.storage.location import Location

ABANDONED_AFTER_S: Final = 24 * 3_600.0
"""Age at which no process can still use such a file: a probe lives for one or two requests."""

_PROBE: Final = re.compile(r"(_|.+\.)?probe-[0-9a-f]{8}")
"""A file that is written to test whether a folder is writable, or to read its clock."""


def remove_leftovers(folder: Location, now: float, *, older_than_s: float) -> None:
    """Remove half-written files and probes older than so many seconds.

    Raises:
        OutputFailed: if the folder cannot be listed, or something cannot be removed.
    """
    left = [
        info
        for info in folder.children()
        if is_unfinished(info.base_name) or _PROBE.fullmatch(info.base_name)
    ]
    for info in old_files(folder, left, now, older_than_s=older_than_s):
        folder.child(info.base_name).remove()


def old_files(
    folder: Location, infos: Iterable[FileInfo], now: float, *, older_than_s: float
) -> list[FileInfo]:
    """Return the files of a folder older than so many seconds.

    Since a machine's clock may jump, an age on an object store is confirmed by the store's clock.
    """
    limit = timedelta(seconds=older_than_s)
    by_our_clock = datetime.fromtimestamp(now, UTC)
    old = [info for info in infos if _age(info, by_our_clock) >= limit]
    if old and not folder.is_local:
        by_its_clock = folder.child(old[0].base_name).now()
        old = [info for info in old if _age(info, by_its_clock) >= limit]
    return old


def _age(info: FileInfo, now: datetime) -> timedelta:
    return timedelta() if info.modified is None else now - info.modified
