"""List the segments of a store, while other runs may replace and delete some."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

from pipeline.core.errors import OutputFailed, SettingsError
from pipeline.score_store.replaced import read_replaced
from pipeline.score_store.segments import SEGMENT_PREFIX, SEGMENT_SUFFIX, Segment, open_segment
from pipeline.storage.files import FileInfo
from pipeline.storage.location import Location

Result = TypeVar("Result")

MAX_LISTINGS: Final = 5
"""Segments are deleted minutes after they were replaced, so a second listing is hardly needed."""
_OTHER_FORMAT: Final = re.compile(rf"segment-(?!v2-)(v\d+-|\d{{8}}T).*{re.escape(SEGMENT_SUFFIX)}$")
_OPENED_AT_ONCE: Final = 16
"""On an object store, opening a segment waits for a few round trips."""


def list_segments(folder: Location) -> list[FileInfo]:
    """Return the store's segments, oldest first; none if there is no folder.

    Raises:
        SettingsError: if it holds segments of another format.
        OutputFailed: if the folder exists and cannot be listed.
    """
    children = folder.children()
    for info in children:
        if _OTHER_FORMAT.match(info.base_name):
            raise SettingsError(
                "the score store holds answers in a format that this version does not read",
                which=folder.child(info.base_name).name,
                expected=f"{SEGMENT_PREFIX}*{SEGMENT_SUFFIX}",
                cure="choose another --score-store, or remove the old segments",
            )
    replaced = read_replaced(folder, children)
    if replaced:  # their replacements may have been published while the files were listed
        children = folder.children()
    return [
        info
        for info in children
        if info.base_name.startswith(SEGMENT_PREFIX)
        and info.base_name.endswith(SEGMENT_SUFFIX)
        and info.base_name not in replaced
        and not info.is_folder
    ]


def iter_segments(folder: Location) -> Iterator[Segment]:
    """Yield the store's segments, oldest first; on an object store several are opened at once.

    At most so many are in memory that were not yielded yet, however many there are.

    Raises:
        FileNotFoundError: if one is gone since it was listed; see `read_listed`.
        SettingsError: if the store holds segments of another format.
        OutputFailed: if one exists and cannot be read.
    """
    infos = iter(list_segments(folder))
    if folder.is_local:
        yield from (open_segment(folder, info) for info in infos)
        return
    with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
        first = islice(infos, _OPENED_AT_ONCE)
        opening = deque(pool.submit(open_segment, folder, info) for info in first)
        while opening:
            segment = opening.popleft().result()
            opening.extend(pool.submit(open_segment, folder, info) for info in islice(infos, 1))
            yield segment


def read_listed(folder: Location, read: Callable[[], Result]) -> Result:
    """Return what `read` returns, which lists the segments of a store and reads them.

    If a segment is gone since it was listed, `read` is called again: another run has deleted it,
    and the list holds the segments that replace it.

    Raises:
        OutputFailed: as `read` does, or if segments that are listed can never be found.
    """
    for _ in range(MAX_LISTINGS):
        try:
            return read()
        except FileNotFoundError as error:
            gone = error
    raise listed_in_vain(folder) from gone


def listed_in_vain(folder: Location) -> OutputFailed:
    """Return the error of a store that lists segments which can never be found."""
    return OutputFailed("lists segments that cannot be found", which=folder.name)
