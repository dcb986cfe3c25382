"""However many segments a store has, few of them are in memory at once."""

import gc
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from support.score_stores import save

from pipeline.score_store.listing import iter_segments
from pipeline.score_store.maintenance import info
from pipeline.score_store.segment_index import SegmentIndex
from pipeline.storage.local_files import LocalFiles
from pipeline.storage.location import Location

NUM_SEGMENTS, AT_ONCE = 60, 16


class RemoteFiles(Struct, frozen=True):
    """Local files that pass for those of an object store."""

    @property
    def is_local(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(LocalFiles(), name)


def in_memory() -> int:
    gc.collect()
    return sum(isinstance(one, SegmentIndex) for one in gc.get_objects())


@pytest.mark.parametrize("files", [LocalFiles(), RemoteFiles()], ids=["disk", "object store"])
async def test_segments_are_opened_a_few_ahead(tmp_path: Path, files: Any) -> None:
    for number in range(NUM_SEGMENTS):
        await save(tmp_path, [number])
    folder, before = Location(files, str(tmp_path), str(tmp_path)), in_memory()
    segments = iter_segments(folder)

    most, names = 0, []
    for segment in segments:
        names.append(segment.name)
        most = max(most, in_memory() - before)

    assert names == sorted(names)
    assert len(names) == NUM_SEGMENTS
    assert most <= AT_ONCE + 2
    assert info(folder).requests == NUM_SEGMENTS


async def test_whoever_stops_early_leaves_nothing_behind(tmp_path: Path) -> None:
    for number in range(40):
        await save(tmp_path, [number])
    before = in_memory()

    first = [segment.name for segment in islice(iter_segments(_remote(tmp_path)), 2)]

    assert len(first) == 2
    assert in_memory() == before


def _remote(folder: Path) -> Location:
    return Location(RemoteFiles(), str(folder), str(folder))
