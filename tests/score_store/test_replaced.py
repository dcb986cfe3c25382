"""Notes of replaced segments: who is listed no longer, and when it is deleted."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.hostile_files import hostile, remote

from pipeline.score_store.replaced import delete_replaced, note_replaced, read_replaced
from pipeline.storage.files import FileInfo
from pipeline.storage.location import Location, locate


def on_disk(folder: Path) -> Location:
    return locate(str(folder))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def replaced(folder: Path, *segments: str, age_s: float = 0.0) -> Path:
    """Note that these segments, which are there, are replaced; return the note."""
    for name in segments:
        (folder / name).write_bytes(b"")
    before = set(folder.iterdir())
    note_replaced(on_disk(folder), segments, 1.8e9)
    (note,) = set(folder.iterdir()) - before
    written = time.time() - age_s
    os.utime(note, (written, written))
    return note


@pytest.mark.usefixtures("tokyo")
def test_replaced_segments_are_those_that_any_note_names(tmp_path: Path) -> None:
    folder = on_disk(tmp_path)
    note = replaced(tmp_path, "a", "b")
    replaced(tmp_path, "b", "c")
    for other in ("replaced-x.txt", "replaced", "x-replaced-.json"):
        (tmp_path / other).write_bytes(b'{"segments":["d"]}')

    assert read_replaced(folder, folder.children()) == {"a", "b", "c"}
    assert re.fullmatch(r"replaced-20270115T080000-[0-9a-f]{8}\.json", note.name)


def test_a_note_that_is_gone_names_nothing(tmp_path: Path) -> None:
    folder = on_disk(tmp_path)

    assert read_replaced(folder, [FileInfo(str(tmp_path / "replaced-1.json"), 5)]) == set()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"segments":"a"}', b'{"segments":[1]}', b"{}"])
def test_a_note_that_cannot_be_read_names_nothing_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    folder = on_disk(tmp_path)
    note = replaced(tmp_path, "a")
    note.write_bytes(content)

    assert read_replaced(folder, folder.children()) == set()
    (record,) = caplog.records
    assert record.getMessage() == f"score_store.damaged segment={note}"


@pytest.mark.parametrize("place", [on_disk, remote], ids=["disk", "object store"])
def test_what_was_replaced_long_enough_ago_is_deleted_with_its_note(
    tmp_path: Path, place: Callable[[Path], Location]
) -> None:
    replaced(tmp_path, "a", "b", age_s=1_000)
    note = replaced(tmp_path, "c", age_s=800)
    (tmp_path / "d").write_bytes(b"")

    delete_replaced(place(tmp_path), time.time(), older_than_s=900)

    assert names(tmp_path) == sorted(["c", "d", note.name])


def test_a_note_is_old_from_the_second_on_at_which_it_may_be_deleted(tmp_path: Path) -> None:
    note = replaced(tmp_path, "a")
    written = note.stat().st_mtime

    delete_replaced(on_disk(tmp_path), written + 899.99, older_than_s=900)
    assert "a" in names(tmp_path)
    delete_replaced(on_disk(tmp_path), written + 900, older_than_s=900)

    assert names(tmp_path) == []


def test_with_no_age_at_all_everything_replaced_is_deleted_whatever_the_clocks_say(
    tmp_path: Path,
) -> None:
    for place in (on_disk, remote):
        replaced(tmp_path, "a", age_s=-10_000)

        delete_replaced(place(tmp_path), 0.0, older_than_s=0)

        assert names(tmp_path) == []


def test_on_an_object_store_a_note_is_old_by_the_stores_clock_too(tmp_path: Path) -> None:
    note = replaced(tmp_path, "a", age_s=100)

    delete_replaced(remote(tmp_path), time.time() + 1e6, older_than_s=900)
    assert names(tmp_path) == sorted(["a", note.name])
    delete_replaced(on_disk(tmp_path), time.time() + 1e6, older_than_s=900)

    assert names(tmp_path) == []


def test_a_note_without_a_time_is_never_old(tmp_path: Path) -> None:
    note = replaced(tmp_path, "a", age_s=10_000)

    def without_time(found: list[FileInfo]) -> list[FileInfo]:
        return [FileInfo(one.path, one.size_bytes) for one in found]

    delete_replaced(hostile(tmp_path, without_time), time.time(), older_than_s=900)

    assert names(tmp_path) == sorted(["a", note.name])


def test_a_segment_that_is_gone_already_does_not_keep_its_note(tmp_path: Path) -> None:
    replaced(tmp_path, "a", "b", age_s=1_000)
    (tmp_path / "a").unlink()

    delete_replaced(on_disk(tmp_path), time.time(), older_than_s=900)

    assert names(tmp_path) == []
