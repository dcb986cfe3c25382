"""Record segments whose answers compaction has written into others, and delete them later.

A compaction publishes the new segments, then a note that names the old ones. Readers of the store
leave these out from then on. Runs that listed them before still read them, so they are deleted
later, by the first compaction or pruning that finds the note old enough. Until then they take
space, and nothing else depends on it.
"""

import logging
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from pipeline.core.events import log_event
from pipeline.storage.files import FileInfo
from pipeline.storage.leftovers import old_files
from pipeline.storage.location import Location

_log = logging.getLogger(__name__)
_PREFIX, _SUFFIX = "replaced-", ".json"


class _Note(Struct, frozen=True):
    segments: list[str]


def note_replaced(folder: Location, names: Sequence[str], now: float) -> None:
    """Record that these segments are no longer needed; others hold their answers already.

    Raises:
        OutputFailed: if it cannot be written.
    """
    moment = datetime.fromtimestamp(now, UTC)
    name = f"{_PREFIX}{moment:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}{_SUFFIX}"
    folder.child(name).publish(msgspec.json.encode(_Note(list(names))))


def read_replaced(folder: Location, children: Iterable[FileInfo]) -> set[str]:
    """Return the names of replaced segments, given the files of the store.

    Their replacements exist already, but may be missing among files that were listed before.

    Raises:
        OutputFailed: if a note exists and cannot be read.
    """
    return {name for info in _notes(children) for name in _read(folder, info.base_name)}


def delete_replaced(folder: Location, now: float, *, older_than_s: float) -> None:
    """Delete the segments that were replaced at least so many seconds ago, and their notes.

    Raises:
        OutputFailed: if something cannot be deleted.
    """
    old = _notes(folder.children())
    if older_than_s:
        old = old_files(folder, old, now, older_than_s=older_than_s)
    for info in old:
        for name in _read(folder, info.base_name):
            folder.child(name).remove()
        folder.child(info.base_name).remove()


def _notes(children: Iterable[FileInfo]) -> list[FileInfo]:
    return [
        info
        for info in children
        if info.base_name.startswith(_PREFIX) and info.base_name.endswith(_SUFFIX)
    ]


def _read(folder: Location, name: str) -> list[str]:
    """Return the segments that a note names; none if it is gone, as they are then."""
    content = folder.child(name).read()
    if content is None:
        return []
    try:
        return msgspec.json.decode(content, type=_Note).segments
    except msgspec.MsgspecError:
        # Then the old segments are read beside the new ones, and folded again.
        log_event(_log, logging.WARNING, "score_store.damaged", segment=folder.child(name).name)
        return []
