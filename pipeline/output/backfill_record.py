"""The records that a backfill keeps in its OUTPUT_ROOT: of its partitions and its own runs."""

import msgspec
from msgspec import Struct, field

from pipeline.core.errors import InputError
from pipeline.output.layout import MANIFEST_NAME, RUNS_FOLDER
from pipeline.output.lock.output_lock import is_held
from pipeline.output.run_records import RunRecord, State
from pipeline.storage.location import Location
from pipeline.storage.partitions import Partition, list_partitions


class _Facts(Struct):
    partitions: list[str] = field(default_factory=list)


def planned_partitions(root: Location) -> list[str]:
    """Return the folders of all partitions that the backfills of a root cover, by name.

    Those of records that cannot be understood are left out.

    Raises:
        OutputFailed: if the records cannot be read.
    """
    found: set[str] = set()
    for info in root.child(RUNS_FOLDER).children():
        if info.base_name.endswith(".json") and not info.base_name.startswith("."):
            content = root.child(RUNS_FOLDER, info.base_name).read()
            try:
                found |= set(msgspec.json.decode(content or b"", type=_Facts).partitions)
            except msgspec.MsgspecError:
                continue
    return sorted(found)


def begun_partitions(root: Location) -> list[Partition]:
    """Return the partitions of a root that are outputs, by name.

    Raises:
        InputError: if the folders have several keys, or a name that is not UTF-8.
        OutputFailed: if the folder cannot be listed.
    """
    return [one for one in list_partitions(root) if one.location.child(MANIFEST_NAME).exists()]


def is_backfill(root: Location) -> bool:
    """Return whether a folder is the root of a backfill.

    Raises:
        OutputFailed: if the folder cannot be listed.
    """
    if root.child(MANIFEST_NAME).exists():
        return False
    try:
        return bool(planned_partitions(root) or begun_partitions(root))
    except InputError:  # partitions of several keys
        return False


def backfill_state(root: Location, last: RunRecord | None, *, is_done: bool) -> State:
    """Return the state of a backfill.

    Args:
        root: Its OUTPUT_ROOT.
        last: The record of its last run; None if there is none.
        is_done: Whether all partitions are done.
    """
    if is_held(root):
        return "running"
    if not is_done and last is not None and last.state not in ("running", "done"):
        return last.state
    return "done" if is_done else "interrupted"
