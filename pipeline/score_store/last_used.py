"""Record when stored answers were last used, so that unused ones can be pruned.

A run records the keys that it looked up and found in one small file at its end; compaction folds
these files into one. A run that is killed records nothing: the answers that it used count as last
used when they were saved, or used before.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import IntArray, KeyArray
from pipeline.storage.location import Location

FEW_FILES = 16
"""More files than this are folded into one."""

_SCHEMA = pa.schema(
    [
        pa.field("key_prefix", pa.uint64(), nullable=False),
        pa.field("used_at_us", pa.int64(), nullable=False),
    ]
)


def record_use(folder: Location, prefixes: KeyArray, now: float) -> None:
    """Record that the answers whose keys begin with these 64 bits were used now.

    Raises:
        OutputFailed: if it cannot be written.
    """
    used = np.unique(prefixes)
    if len(used):
        _write(folder, used, np.full(len(used), int(now * 1e6)), now)


def read_last_used(folder: Location) -> tuple[KeyArray, IntArray]:
    """Return key prefixes, sorted and distinct, and when each was last used.

    Times are in microseconds since 1970.
    """
    return _read(_names(folder), folder)


def fold_files(folder: Location, now: float, *, since_us: int | None = None) -> None:
    """Fold many files into one; forget uses before `since_us`.

    Raises:
        OutputFailed: if it cannot be written.
    """
    names = _names(folder)
    if not names or (len(names) <= FEW_FILES and since_us is None):
        return
    prefixes, used_at_us = _read(names, folder)
    if since_us is not None:
        prefixes, used_at_us = prefixes[used_at_us >= since_us], used_at_us[used_at_us >= since_us]
    if len(prefixes):
        _write(folder, prefixes, used_at_us, now)
    for name in names:
        folder.child(name).remove()


def _names(folder: Location) -> list[str]:
    return [info.base_name for info in folder.children() if info.base_name.startswith("used-")]


def _write(folder: Location, prefixes: KeyArray, used_at_us: IntArray, now: float) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCHEMA) as writer:
        columns = [pa.array(prefixes), pa.array(used_at_us)]
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
    moment = datetime.fromtimestamp(now, UTC)
    folder.child(f"used-{moment:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}.arrows").publish(
        memoryview(sink.getvalue())
    )


def _read(names: Sequence[str], folder: Location) -> tuple[KeyArray, IntArray]:
    prefixes, times = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for name in names:
        content = folder.child(name).read()
        if content is None:
            continue
        try:
            table = pa.ipc.open_stream(content).read_all()
        except (pa.ArrowException, OSError):
            continue  # damaged: its keys count as used when they were saved
        prefixes.append(table["key_prefix"].to_numpy())
        times.append(table["used_at_us"].to_numpy())
    joined, used_at_us = np.concatenate(prefixes), np.concatenate(times)
    order = np.lexsort((-used_at_us, joined))
    distinct, first = np.unique(joined[order], return_index=True)
    return distinct, used_at_us[order][first]
