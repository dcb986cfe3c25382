"""When stored answers were last of use, so that the unused can be pruned.

A run notes the keys that it looked up and found, and leaves them in one small file at its end;
compaction folds those files into one. A run that is killed leaves no note: what it used counts
from the time that it was saved or used before.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import IntArray
from pipeline.score_store.rows import PrefixArray
from pipeline.storage.location import Location

FEW_FILES = 16
"""More notes than these are folded into one."""

_SCHEMA = pa.schema(
    [
        pa.field("key_prefix", pa.uint64(), nullable=False),
        pa.field("used_at_us", pa.int64(), nullable=False),
    ]
)


def note_uses(folder: Location, prefixes: PrefixArray, now: float) -> None:
    """Leave word that the answers with these key prefixes were of use now.

    Raises:
        OutputFailed: if it cannot be written.
    """
    used = np.unique(prefixes)
    if len(used):
        _write(folder, used, np.full(len(used), int(now * 1e6)), now)


def read_uses(folder: Location) -> tuple[PrefixArray, IntArray]:
    """Key prefixes, sorted and once each, and when each was last used (microseconds)."""
    return _read(_names(folder), folder)


def fold_uses(folder: Location, now: float, *, since_us: int | None = None) -> None:
    """Make one note of many; forget uses before `since_us`.

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


def _write(folder: Location, prefixes: PrefixArray, used_at_us: IntArray, now: float) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCHEMA) as writer:
        columns = [pa.array(prefixes), pa.array(used_at_us)]
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
    moment = datetime.fromtimestamp(now, UTC)
    folder.child(f"used-{moment:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}.arrows").publish(
        memoryview(sink.getvalue())
    )


def _read(names: Sequence[str], folder: Location) -> tuple[PrefixArray, IntArray]:
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
    once, first = np.unique(joined[order], return_index=True)
    return once, used_at_us[order][first]
