"""Files on this machine: whole or not at all, read in pieces, listed and removed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.disk import sync_calls

from pipeline.core.errors import OutputFailed
from pipeline.storage.location import Location, locate

CONTENT = np.random.default_rng(1).bytes(1_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Location:
    return locate(str(tmp_path))


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Location:
    file = locate(str(tmp_path_factory.mktemp("long") / "file"))
    file.publish(CONTENT)
    return file


def test_a_file_is_read_as_it_was_published(folder: Location) -> None:
    file = folder.child("deep", "file")
    assert (file.read(), file.size_bytes(), file.modified()) == (None, None, None)

    file.publish(b"first")
    file.publish(memoryview(b"second"))

    assert (file.read(), file.size_bytes()) == (b"second", 6)
    written = file.modified()
    assert written is not None
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=1)
    assert [info.base_name for info in folder.child("deep").children()] == ["file"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    folder: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder.child("file")
    file.publish(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputFailed, match="No space left on device; free disk space"):
        file.publish(b"new")

    assert file.read() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@settings(max_examples=50, deadline=None)
@given(ranges=st.lists(st.tuples(st.integers(0, 1_000_000), st.integers(1, 200_000)), max_size=8))
def test_ranges_come_as_they_were_asked_for_and_end_with_the_file(
    long_file: Location, ranges: list[tuple[int, int]]
) -> None:
    assert long_file.read_ranges(ranges) == [CONTENT[at : at + size] for at, size in ranges]


def test_ranges_of_a_file_that_is_gone_are_missing(folder: Location) -> None:
    with pytest.raises(FileNotFoundError):
        folder.child("none").read_ranges([(0, 1)])


def test_an_open_file_tells_what_it_was_and_what_it_is(folder: Location, tmp_path: Path) -> None:
    file = folder.child("file")
    file.publish(b"first")
    opened = file.open_with_info()

    with opened.stream:
        assert opened.info == opened.snapshot() == file.info()
        (tmp_path / "file").write_bytes(b"first and more")
        now = opened.snapshot()
        file.publish(b"second")
        assert opened.snapshot() == now
    assert not now.is_same_state(opened.info)


def test_a_folder_lists_what_is_below_it_by_path(folder: Location, tmp_path: Path) -> None:
    for name in ("b", "a/x", "a/deep/y"):
        folder.child(*name.split("/")).publish(b"1")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(tmp_path / "a", target_is_directory=True)

    here = [(info.base_name, info.is_folder) for info in folder.children()]
    below = [info.path.removeprefix(f"{tmp_path}/") for info in folder.children(recursive=True)]

    assert here == [("a", True), ("b", False), ("link", True)]
    assert below == ["a", "a/deep", "a/deep/y", "a/x", "b", "link", "link/deep", "link/deep/y",
                     "link/x"]  # fmt: skip
    assert folder.child("none").children() == []


def test_a_folder_and_a_path_below_a_file_hold_no_content(folder: Location) -> None:
    folder.child("a", "x").publish(b"1")

    assert folder.child("a").read() is None
    assert folder.child("a").size_bytes() is None
    assert folder.child("a", "x", "y").read() is None
    assert not folder.child("a", "x", "y").exists()


def test_removing_takes_a_folder_with_all_below_it(folder: Location, tmp_path: Path) -> None:
    folder.child("a", "x").publish(b"1")
    folder.child("b").publish(b"1")

    for name in ("a", "b", "none"):
        folder.child(name).remove()

    assert list(tmp_path.iterdir()) == []


def test_only_half_written_files_are_removed(folder: Location, tmp_path: Path) -> None:
    for name in (".a.1.unfinished", ".b.2.unfinished", ".hidden", "a.unfinished"):
        (tmp_path / name).write_bytes(b"")

    folder.remove_unfinished()

    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "a.unfinished"]


def test_a_file_is_on_the_disk_before_it_is_visible_and_then_its_name(
    folder: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = sync_calls(monkeypatch)

    folder.child("a", "x").publish(b"1")

    (content, of_content), (name, of_name) = synced
    assert content.startswith(f"{tmp_path}/a/.x.")
    assert of_content == b"1"
    assert (name, of_name) == (f"{tmp_path}/a", ["x"])


def test_a_file_uri_is_a_path_of_this_machine(tmp_path: Path) -> None:
    file = locate(f"file://{tmp_path}/with%20blank")
    file.publish(b"1")

    assert file.is_local
    assert (tmp_path / "with blank").read_bytes() == b"1"


@pytest.mark.parametrize("has_nameless", [True, False])
def test_a_file_of_any_size_becomes_visible_when_it_is_complete(
    has_nameless: bool, folder: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_nameless:
        monkeypatch.delattr("os.O_TMPFILE")
    file = folder.child("deep", "file")
    file.publish(b"old")

    with file.writing() as stream:
        stream.write(CONTENT)
        stream.write(b"end")
        during = file.read()

    assert during == b"old"
    assert file.read() == CONTENT + b"end"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


@pytest.mark.parametrize("has_nameless", [True, False])
def test_a_body_that_fails_leaves_the_old_file_and_nothing_else(
    has_nameless: bool, folder: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_nameless:
        monkeypatch.delattr("os.O_TMPFILE")
    file = folder.child("file")
    file.publish(b"old")

    def write() -> None:
        with file.writing() as stream:
            stream.write(b"new")
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputFailed, match="No space left"):
        write()

    assert file.read() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
