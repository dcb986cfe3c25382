"""However many segments a store has, few of them are in memory at once."""

import asyncio
import gc
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from support.hostile_files import remote
from support.score_stores import save

from pipeline.core.errors import OutputFailed, SettingsError
from pipeline.score_store.listing import (
    MAX_LISTINGS,
    iter_segments,
    list_segments,
    listed_in_vain,
    read_listed,
)
from pipeline.score_store.maintenance import info
from pipeline.score_store.replaced import note_replaced
from pipeline.score_store.segment_index import SegmentIndex
from pipeline.storage.local_files import LocalFiles
from pipeline.storage.location import Location, locate

NUM_SEGMENTS, AT_ONCE = 60, 16


def on_disk(folder: Path) -> Location:
    return locate(str(folder))


def segments(folder: Path, count: int = NUM_SEGMENTS) -> list[str]:
    """Make a store of so many segments; return their names in order."""
    asyncio.run(save(folder, [1]))
    (first,) = folder.glob("segment-*")
    names = [f"segment-v2-20270101T000000-000000-{number:08}.arrows" for number in range(count)]
    for name in names:
        (folder / name).write_bytes(first.read_bytes())
    first.unlink()
    return names


def in_memory() -> int:
    gc.collect()
    return sum(isinstance(one, SegmentIndex) for one in gc.get_objects())


@pytest.mark.parametrize("place", [on_disk, remote], ids=["disk", "object store"])
def test_segments_are_opened_a_few_ahead(tmp_path: Path, place) -> None:
    expected = segments(tmp_path)
    folder, before = place(tmp_path), in_memory()
    opened = iter_segments(folder)

    most, names = 0, []
    for number, segment in enumerate(opened):
        names.append(segment.name)
        if number in (0, 1, 16, 30, 58, 59):
            most = max(most, in_memory() - before)

    assert names == expected
    assert most <= AT_ONCE + 2
    assert info(folder).requests == NUM_SEGMENTS


class FilesReadTogether(Struct, frozen=True):
    """Files of an object store, of which none is read before so many are asked for."""

    barrier: threading.Barrier

    @property
    def is_local(self) -> bool:
        return False

    def read_ranges(self, path: str, ranges: Any) -> list[bytes]:
        self.barrier.wait(timeout=10)
        return LocalFiles().read_ranges(path, ranges)

    def __getattr__(self, name: str) -> Any:
        return getattr(LocalFiles(), name)


def test_on_an_object_store_sixteen_segments_are_opened_at_once(tmp_path: Path) -> None:
    expected = segments(tmp_path, 2 * AT_ONCE)
    files = FilesReadTogether(threading.Barrier(AT_ONCE))

    opened = iter_segments(Location(files, str(tmp_path), str(tmp_path)))

    assert [segment.name for segment in opened] == expected


def test_on_a_disk_a_segment_is_opened_when_it_is_asked_for(tmp_path: Path) -> None:
    names = segments(tmp_path, 3)
    opened = iter_segments(on_disk(tmp_path))
    next(opened)

    (tmp_path / names[1]).unlink()

    with pytest.raises(FileNotFoundError):
        next(opened)


def test_whoever_stops_early_leaves_nothing_behind(tmp_path: Path) -> None:
    expected = segments(tmp_path, 40)
    before = in_memory()

    first = [segment.name for segment in islice(iter_segments(remote(tmp_path)), 2)]

    assert first == expected[:2]
    assert in_memory() == before


def test_what_is_no_segment_or_replaced_is_not_listed(tmp_path: Path) -> None:
    names = segments(tmp_path, 4)
    folder = on_disk(tmp_path)
    for other in ("segment-v2-a.txt", "segment-of-mine.arrows", "used-x.arrows", "v2-.arrows"):
        (tmp_path / other).write_bytes(b"")
    (tmp_path / "segment-v2-z.arrows").mkdir()

    note_replaced(folder, [names[1], "segment-v2-gone.arrows"], 1.8e9)
    note_replaced(folder, [names[2]], 1.8e9)

    assert [one.base_name for one in list_segments(folder)] == [names[0], names[3]]
    assert list_segments(on_disk(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("segment-v2-20270115T080000-000000-15df88ab.arrows", True),
        ("segment-20270115T080000-000000-15df88ab.arrows", False),
        ("segment-v1-20270115T080000-000000-15df88ab.arrows", False),
        ("segment-v10-x.arrows", False),
        ("segment-v3-x.arrows.part", True),
        ("segment-videos.arrows", True),
    ],
)
def test_a_segment_of_another_format_is_refused_by_its_name(
    tmp_path: Path, name: str, is_ours: bool
) -> None:
    (tmp_path / name).write_bytes(b"")

    if is_ours:
        list_segments(on_disk(tmp_path))
        return
    with pytest.raises(SettingsError) as refused:
        list_segments(on_disk(tmp_path))
    assert f"{tmp_path}/{name}: the score store holds answers in a format" in str(refused.value)
    assert "expected segment-v2-*.arrows" in str(refused.value)
    assert "another --score-store" in str(refused.value)


def test_what_is_gone_is_listed_again_a_few_times(tmp_path: Path) -> None:
    folder, calls = on_disk(tmp_path), [0]

    def read() -> str:
        calls[0] += 1
        if calls[0] < MAX_LISTINGS:
            raise FileNotFoundError("segment-1")
        return "found"

    assert read_listed(folder, read) == "found"
    assert calls == [5]


def test_a_store_whose_segments_are_never_there_is_an_error(tmp_path: Path) -> None:
    folder, calls = on_disk(tmp_path), [0]

    def read() -> None:
        calls[0] += 1
        raise FileNotFoundError("segment-1")

    with pytest.raises(OutputFailed) as failed:
        read_listed(folder, read)

    assert calls == [5]
    assert isinstance(failed.value.__cause__, FileNotFoundError)
    assert str(failed.value) == str(listed_in_vain(folder))
    assert f"{tmp_path}: lists segments that cannot be found" in str(failed.value)
