"""What a backfill keeps in its OUTPUT_ROOT: which partitions it covers, in its run's record."""

import msgspec
from msgspec import Struct, field

from pipeline.output.layout import RUNS_FOLDER
from pipeline.storage.location import Location


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
