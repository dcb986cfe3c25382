"""What killed runs leave beside the segments, and who removes it when."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.hostile_files import remote
from support.score_stores import DAY, compact, save

from pipeline.score_store.maintenance import prune
from pipeline.storage.leftovers import remove_leftovers
from pipeline.storage.location import Location, locate

LEFT = ("probe-0123abcd", "_probe-0123abcd", ".used-1.arrows.7.unfinished")


def on_disk(folder: Path) -> Location:
    return locate(str(folder))


def leave(folder: Path, *names: str, age_s: float = 0.0) -> None:
    written = time.time() - age_s
    for name in names:
        (folder / name).write_bytes(b"")
        os.utime(folder / name, (written, written))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("segment-"))


@pytest.mark.parametrize("place", [on_disk, remote], ids=["disk", "object store"])
def test_what_a_killed_run_left_is_removed_when_it_is_old(
    tmp_path: Path, place: Callable[[Path], Location]
) -> None:
    leave(tmp_path, *LEFT, age_s=1_000)
    leave(tmp_path, "probe-00000000", age_s=800)

    remove_leftovers(place(tmp_path), time.time(), older_than_s=900)

    assert left(tmp_path) == ["probe-00000000"]


def test_files_of_other_names_are_left_alone(tmp_path: Path) -> None:
    names = ["probe-0123abc", "probe-0123abcd.json", "xprobe-0123abcd", "a.unfinished", "used-1"]
    leave(tmp_path, *names, age_s=1_000)

    remove_leftovers(on_disk(tmp_path), time.time(), older_than_s=900)

    assert left(tmp_path) == sorted(names)


def test_on_an_object_store_what_is_left_is_old_by_the_stores_clock_too(tmp_path: Path) -> None:
    leave(tmp_path, *LEFT, age_s=100)

    remove_leftovers(remote(tmp_path), time.time() + 1e6, older_than_s=900)

    assert left(tmp_path) == sorted(LEFT)


async def test_a_run_removes_what_is_older_than_a_day(tmp_path: Path) -> None:
    await save(tmp_path, [1])
    leave(tmp_path, *LEFT, age_s=DAY + 60)
    leave(tmp_path, "probe-00000000", age_s=DAY - 60)

    await compact(tmp_path, time.time())

    assert left(tmp_path) == ["probe-00000000"]


def test_pruning_removes_what_is_older_than_a_day_but_a_dry_run_does_not(tmp_path: Path) -> None:
    leave(tmp_path, *LEFT, age_s=DAY + 60)

    prune(on_disk(tmp_path), 90, dry_run=True)
    assert left(tmp_path) == sorted(LEFT)
    prune(on_disk(tmp_path), 90)

    assert left(tmp_path) == []
