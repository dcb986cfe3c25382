"""Segments of runs that go on, and damaged ones."""

import asyncio
import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from support.disk import sync_calls
from support.hostile_files import remote
from support.score_stores import DAY, NOW, answer, keys, look_up, request, right, save, store

from pipeline.core.errors import OutputFailed
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.listing import iter_segments
from pipeline.score_store.maintenance import info
from pipeline.score_store.rows import StoredAnswer, encode
from pipeline.score_store.segment_writer import SegmentWriter
from pipeline.score_store.segments import Message, read_batches
from pipeline.storage.location import Location, locate

Place: TypeAlias = Callable[[Path], Location]


async def test_a_living_runs_segment_is_spared_when_the_clock_jumps_ahead(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    async with store(folder) as living:
        await living.save(request(1), answer(1))
        await living.flush()
        async with store(folder, NOW + 40_000 * DAY) as jumped:
            assert await jumped.compact() == 0
        await living.save(request(2), answer(2))

    assert right(await look_up(folder, [1, 2]), [1, 2])


def test_a_closed_segment_and_its_name_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = sync_calls(monkeypatch)

    asyncio.run(save(tmp_path, [1]))

    (segment,) = tmp_path.glob("segment-*")
    assert synced[-2:] == [(str(segment), segment.read_bytes()), (str(tmp_path), [segment.name])]


async def test_answers_go_on_into_a_new_segment_when_theirs_is_removed(tmp_path: Path) -> None:
    folder = locate(str(tmp_path / "store"))
    async with store(folder) as living:
        await living.save(request(1), answer(1))
        await living.flush()
        folder.remove()
        await living.save(request(2), answer(2))
        await living.flush()

        assert right(await living.look_up(keys([1, 2])), [2])

    assert right(await look_up(folder, [1, 2]), [2])


async def test_a_slow_disk_that_closes_a_segment_holds_back_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, folder = threading.Event(), locate(str(tmp_path))
    async with store(folder, limits=StoreLimits(full_bytes=1)) as living:
        monkeypatch.setattr("os.fsync", lambda _: slow.wait(10))
        for number in range(4):
            await living.save(request(number), answer(number))
            async with asyncio.timeout(5):
                await living.flush()

        assert (info(folder).requests, slow.is_set()) == (4, False)
        slow.set()

    assert right(await look_up(folder, range(4)), range(4))


# --- One segment after the other ----------------------------------------------------------------


class Writer:
    """A writer of segments in a folder, whose clock the test owns."""

    def __init__(self, folder: Location, **limits: Any) -> None:
        self.now = NOW
        self.folder = folder
        self.writer = SegmentWriter(folder, lambda: self.now, StoreLimits(**limits))

    def write(self, *numbers: int) -> list[str]:
        """Write a batch for each number; return the names of their segments."""
        asked = [request(number) for number in numbers]
        stored = [
            StoredAnswer(one.key, one.scope, b"", answer(number), int(NOW * 1e6))
            for number, one in zip(numbers, asked, strict=True)
        ]
        written = self.writer.write([Message.of(encode([one])) for one in stored])
        for number, (place, facts) in zip(numbers, written, strict=True):
            assert facts.keys == request(number).key
            location = self.folder.child(place.segment)
            (rows,) = read_batches(location, [(place.offset, place.size)])
            assert rows is not None
            assert rows.keys == request(number).key
        return [place.segment for place, _ in written]

    def segments(self) -> list[tuple[str, bool, int]]:
        """Return name, whether it is closed, and number of answers of each segment."""
        return [(one.name, one.closed, len(one.batches)) for one in iter_segments(self.folder)]


PLACES = pytest.mark.parametrize(
    "place", [lambda path: locate(str(path)), remote], ids=["disk", "object store"]
)


@PLACES
def test_batches_are_where_the_writer_says_and_one_segment_holds_them(
    tmp_path: Path, place: Place
) -> None:
    writing = Writer(place(tmp_path))

    (name, *others) = [*writing.write(1, 2), *writing.write(3), *writing.write(4)]
    assert others == [name] * 3
    assert writing.segments() == [(name, False, 4)]
    writing.writer.seal()

    assert writing.segments() == [(name, True, 4)]


def test_on_an_object_store_whoever_reads_has_a_whole_segment(tmp_path: Path) -> None:
    writing = Writer(remote(tmp_path))
    (name,) = writing.write(1)
    with (tmp_path / name).open("rb") as reading:
        begun = (tmp_path / name).read_bytes()
        writing.write(2)

        assert reading.read() == begun


def test_a_batch_that_was_written_in_part_is_taken_back_and_those_before_it_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = os.write, OSError(errno.ENOSPC, "No space left on device")

    def half(file: int, content: memoryview) -> int:
        if len(content) < 100:
            raise full
        return write(file, content[:-50])

    writing = Writer(locate(str(tmp_path)))
    (name,) = {*writing.write(1), *writing.write(2)}
    content = (tmp_path / name).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("os.write", half)
        with pytest.raises(OutputFailed) as failed:
            writing.write(3)

    assert str(failed.value).startswith(f"{tmp_path}/{name}: cannot be written: No space left")
    assert (tmp_path / name).read_bytes() == content
    assert writing.write(3) == [name]


@PLACES
def test_after_a_seal_the_next_batch_begins_a_segment(tmp_path: Path, place: Place) -> None:
    writing = Writer(place(tmp_path))
    writing.writer.seal()
    assert writing.segments() == []

    (first,) = writing.write(1)
    writing.writer.seal()
    writing.writer.seal()
    (second,) = writing.write(2)

    assert sorted(writing.segments()) == sorted([(first, True, 1), (second, False, 1)])


@pytest.mark.parametrize(
    ("after_s", "is_new"), [(3_600.0, False), (3_601.0, True), (-3_600.0, False), (-3_601.0, True)]
)
def test_a_segment_of_an_hour_is_closed_also_by_a_clock_that_jumps_back(
    tmp_path: Path, after_s: float, is_new: bool
) -> None:
    writing = Writer(locate(str(tmp_path)))
    (first,) = writing.write(1)

    writing.now += after_s
    (second,) = writing.write(2)

    assert (first != second) == is_new


@pytest.mark.parametrize(
    ("place", "limit"),
    [(lambda path: locate(str(path)), "full_bytes"), (remote, "remote_full_bytes")],
)
def test_a_segment_is_closed_from_the_byte_on_at_which_it_is_full(
    tmp_path: Path, place: Place, limit: str
) -> None:
    size = Writer(place(tmp_path / "first"))
    (name,) = size.write(1)
    size_bytes = (tmp_path / "first" / name).stat().st_size
    for full_bytes, expected in ((size_bytes, 2), (size_bytes + 1, 1)):
        limits = {"full_bytes": 1 << 30, "remote_full_bytes": 1 << 30} | {limit: full_bytes}
        writing = Writer(place(tmp_path / f"{full_bytes}"), **limits)
        assert len({*writing.write(1), *writing.write(2)}) == expected
        writing.writer.seal()
        assert len(writing.segments()) == expected


def test_a_segment_that_is_abandoned_is_not_closed_and_still_read(tmp_path: Path) -> None:
    writing = Writer(locate(str(tmp_path)))
    writing.writer.abandon()
    (first,) = writing.write(1)

    writing.writer.abandon()
    (second,) = writing.write(2)
    writing.writer.seal()

    assert sorted(writing.segments()) == sorted([(first, False, 1), (second, True, 1)])


def test_a_segment_is_locked_while_its_writer_lives_and_everybody_may_read_it(
    tmp_path: Path,
) -> None:
    def is_locked(name: str) -> bool:
        with (tmp_path / name).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    writing, umask = Writer(locate(str(tmp_path))), os.umask(0o022)
    os.umask(umask)
    (name,) = writing.write(1)
    assert is_locked(name)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~umask

    writing.writer.seal()

    assert not is_locked(name)


def test_a_disk_without_locks_takes_answers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    writing = Writer(locate(str(tmp_path / "store" / "below")))

    writing.write(1)
    writing.writer.seal()

    assert [closed for _, closed, _ in writing.segments()] == [True]


def test_a_disk_that_fails_to_keep_a_closed_segment_is_told_at_the_seal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    writing = Writer(locate(str(tmp_path)))
    (name,) = writing.write(1)
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", fails)
        with pytest.raises(OutputFailed, match=f"{name}: cannot be written: Input/output error"):
            writing.writer.seal()
    writing.writer.seal()

    assert writing.segments() == [(name, True, 1)]


def test_a_folder_that_cannot_be_made_is_told_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"a file in the way")
    writing = Writer(locate(str(tmp_path / "store")))
    with pytest.raises(OutputFailed, match=r"\.arrows: cannot be created: "):
        writing.write(1)
    (tmp_path / "store").unlink()

    writing.write(1)

    assert len(writing.segments()) == 1


async def test_damage_is_told_once_for_each_segment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = locate(str(tmp_path))
    for first in (0, 10):
        await save(folder, range(first, first + 5))
    for child in folder.children():
        file = folder.child(child.base_name)
        content = bytearray(file.read() or b"")
        content[len(content) // 2] ^= 1
        file.publish(bytes(content))
    async with store(folder) as opened:
        for _ in range(3):
            found = await opened.look_up(keys([*range(5), *range(10, 15)]))

    assert len(found) < 10
    told = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert len(told) == len(set(told)) == 2


async def test_damage_that_hides_where_answers_are_is_told_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = locate(str(tmp_path))
    async with store(folder) as opened:
        for number in range(3):
            await opened.save(request(number), answer(number))
            await opened.flush()
    (child,) = folder.children()
    file = folder.child(child.base_name)
    content = bytearray(file.read() or b"")
    content[-60] ^= 1  # in the index, before the trailer
    file.publish(bytes(content))

    assert right(await look_up(folder, range(3)), range(3))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
