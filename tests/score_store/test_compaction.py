"""Compaction loses no answer, whatever happens to it and whoever uses the store meanwhile."""

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import Struct
from msgspec.structs import replace
from support.hostile_files import after_listing, hostile, remote
from support.score_stores import (
    DAY,
    NOW,
    answer,
    compact,
    keys,
    look_up,
    request,
    right,
    same,
    save,
    store,
    unclosed_segment,
)

from pipeline.core.errors import OutputFailed
from pipeline.score_store import compaction
from pipeline.score_store.compaction import iter_finished
from pipeline.score_store.last_used import record_use
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.maintenance import info, prune
from pipeline.score_store.query_index import QueryIndex
from pipeline.score_store.replaced import note_replaced
from pipeline.score_store.store import ScoreStore
from pipeline.storage.files import FileInfo
from pipeline.storage.local_files import LocalFiles
from pipeline.storage.location import Location, locate

UNCLOSED, ENDS = unclosed_segment(range(6))
HOUR_LATER = time.time() + 3_600
"""By then what is replaced now is deleted."""


def on_disk(folder: Path) -> Location:
    return locate(str(folder))


def files(folder: Path, kind: str = "segment") -> list[Path]:
    """Return the segments on disk, replaced ones included, or other files of the store."""
    return list(folder.glob(f"{kind}-*"))


def replace_and_delete(folder: Path, limits: StoreLimits | None = None) -> None:
    """Compact three times within some hours, as other runs may do."""
    for now in (NOW, HOUR_LATER, HOUR_LATER + 3_600):
        compaction.compact(locate(str(folder)), lambda now=now: now, limits=limits)


async def test_compaction_folds_many_segments_into_one(tmp_path: Path) -> None:
    for number in range(5):
        await save(tmp_path, [number, 99])

    replaced = await compact(tmp_path)

    facts = info(locate(str(tmp_path)))
    assert replaced == 5
    assert (facts.segments, facts.requests) == (1, 6)  # the repeated one is kept once
    assert right(await look_up(tmp_path, [*range(5), 99]), [*range(5), 99])


async def test_of_two_answers_to_one_request_the_first_saved_counts_before_and_after_compaction(
    tmp_path: Path,
) -> None:
    """The second one is in the segment that was begun first."""
    asked, clock = request(1), [NOW]
    folder = locate(str(tmp_path))
    async with ScoreStore(folder, clock=lambda: clock[0], linger_s=0.0) as opened:
        await opened.save(request(7), answer(7))
        await opened.flush()
        clock[0] = NOW + 20
        async with store(tmp_path, NOW + 10) as other:
            await other.save(asked, answer(10))
        await opened.save(asked, answer(20))

    before = await look_up(tmp_path, [1])
    await compact(tmp_path)

    assert same(before[asked.key], answer(10))
    assert info(folder).requests == 2
    assert same((await look_up(tmp_path, [1]))[asked.key], answer(10))


async def test_of_two_answers_saved_at_once_every_reader_takes_the_same(tmp_path: Path) -> None:
    asked = request(1)
    for scores in (answer(10), answer(20)):
        async with store(tmp_path) as opened:
            await opened.save(asked, scores)

    before = await look_up(tmp_path, [1])
    await compact(tmp_path)
    after = await look_up(tmp_path, [1])

    assert same(before[asked.key], after[asked.key])


async def test_compaction_keeps_keys_that_begin_alike(tmp_path: Path) -> None:
    one = request(1)
    other = replace(one, key=one.key[:8] + b"theotherendofthe")
    await save(tmp_path, [1])
    async with store(tmp_path) as opened:
        await opened.save(other, answer(2))

    await compact(tmp_path)

    async with store(tmp_path) as opened:
        found = await opened.look_up([one.key, other.key])
    assert same(found[one.key], answer(1))
    assert same(found[other.key], answer(2))


async def test_compaction_leaves_a_living_runs_segment_alone(tmp_path: Path) -> None:
    await save(tmp_path, [1])
    await save(tmp_path, [2])
    async with store(tmp_path) as living:
        await living.save(request(3), answer(3))
        await living.flush()
        await compact(tmp_path)
        await living.save(request(4), answer(4))

    assert right(await look_up(tmp_path, range(1, 5)), range(1, 5))


async def test_compaction_takes_a_dead_runs_segment_after_a_day(tmp_path: Path) -> None:
    dead = tmp_path / "segment-v2-20200101T000000-000000-aaaaaaaa.arrows"
    dead.write_bytes(UNCLOSED[: ENDS[3] + 10])
    written = dead.stat().st_mtime

    await compact(tmp_path, written + DAY - 60)
    assert dead.exists()
    await compact(tmp_path, written + DAY + 60)

    assert info(locate(str(tmp_path))).segments == 1
    assert right(await look_up(tmp_path, range(6)), range(4))


async def test_compaction_removes_half_written_files_after_a_day_alone(tmp_path: Path) -> None:
    """Until then another run may be writing them."""
    unfinished = tmp_path / ".segment-v2-20200101T000000-000000-aaaaaaaa.arrows.7.unfinished"
    unfinished.write_bytes(b"half")
    written = unfinished.stat().st_mtime

    await compact(tmp_path, written + DAY - 60)
    assert unfinished.exists()
    await compact(tmp_path, written + DAY + 60)

    assert not unfinished.exists()


async def test_a_run_finds_its_answers_after_another_run_has_compacted(tmp_path: Path) -> None:
    await save(tmp_path, [1])
    await save(tmp_path, [2])
    async with store(tmp_path) as opened:
        await opened.save(request(3), answer(3))
        await opened.flush()
        await compact(tmp_path)

        assert right(await opened.look_up(keys([1, 2, 3])), [1, 2, 3])


async def test_damaged_answers_do_not_survive_compaction_but_their_sound_copies_do(
    tmp_path: Path,
) -> None:
    damaged = bytearray(UNCLOSED)
    damaged[damaged.find(answer(2).scores.tobytes())] ^= 1
    old = tmp_path / "segment-v2-1.arrows"
    old.write_bytes(damaged)
    await save(tmp_path, [2])

    await compact(tmp_path, old.stat().st_mtime + 2 * DAY)

    assert right(await look_up(tmp_path, range(6)), range(6))
    assert info(locate(str(tmp_path))).requests == 6


# --- Which segments are folded ------------------------------------------------------------------


def unclosed(folder: Path, *, age_s: float = 0.0, name: str = "dead") -> Path:
    """Make a segment without a writer that was written so long before `NOW`."""
    path = folder / f"segment-v2-{name}.arrows"
    path.write_bytes(UNCLOSED)
    os.utime(path, (NOW - age_s, NOW - age_s))
    return path


def finished(folder: Location, now: float = NOW) -> list[str]:
    return [segment.name for segment in iter_finished(folder, now, StoreLimits())]


@pytest.mark.parametrize("place", [on_disk, remote], ids=["disk", "object store"])
def test_a_closed_segment_is_finished_and_an_unclosed_one_after_a_day(
    tmp_path: Path, place: Callable[[Path], Location]
) -> None:
    asyncio.run(save(tmp_path, [9]))
    (closed,) = (path.name for path in files(tmp_path))
    old = unclosed(tmp_path, age_s=DAY + 10, name="a-day")
    unclosed(tmp_path, age_s=DAY - 10, name="nearly-a-day")
    unclosed(tmp_path, age_s=DAY, name="just-a-day")

    assert finished(place(tmp_path)) == [closed, old.name]


def test_on_an_object_store_a_segment_must_be_old_by_the_stores_clock_too(tmp_path: Path) -> None:
    segment = unclosed(tmp_path, age_s=100)

    assert finished(remote(tmp_path), NOW + 10 * DAY) == []
    assert finished(on_disk(tmp_path), NOW + 10 * DAY) == [segment.name]


def test_a_segment_whose_age_is_not_told_is_not_old(tmp_path: Path) -> None:
    unclosed(tmp_path, age_s=10 * DAY)

    def without_time(found: list[FileInfo]) -> list[FileInfo]:
        return [FileInfo(one.path, one.size_bytes) for one in found]

    assert finished(hostile(tmp_path, without_time)) == []


def test_a_locked_segment_has_a_writer_however_old_it_is(tmp_path: Path) -> None:
    segment = unclosed(tmp_path, age_s=10 * DAY)
    with segment.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert finished(on_disk(tmp_path)) == []

    with segment.open("rb") as file:  # other runs that look at the same time
        fcntl.flock(file, fcntl.LOCK_SH)
        assert finished(on_disk(tmp_path)) == [segment.name]


def test_where_files_cannot_be_locked_the_age_must_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    segment = unclosed(tmp_path, age_s=10 * DAY)
    monkeypatch.setattr("fcntl.flock", no_locks)

    assert finished(on_disk(tmp_path)) == [segment.name]
    assert finished(on_disk(tmp_path), NOW - 9.5 * DAY) == []


class FilesReadOnce(Struct, frozen=True):
    """Local files that another process deletes when they have been read."""

    def read(self, path: str) -> bytes:
        content = LocalFiles().read(path)
        LocalFiles().remove(path)
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(LocalFiles(), name)


def test_a_segment_that_is_gone_when_its_lock_is_looked_at_is_passed_over(tmp_path: Path) -> None:
    unclosed(tmp_path, age_s=10 * DAY)

    assert finished(Location(FilesReadOnce(), str(tmp_path), str(tmp_path))) == []


def test_segments_of_less_than_half_the_full_size_are_folded(tmp_path: Path) -> None:
    for number in range(2):
        asyncio.run(save(tmp_path, [number]))
    (size, _) = (path.stat().st_size for path in files(tmp_path))

    def folded(full_bytes: int) -> int:
        limits = StoreLimits(full_bytes=full_bytes)
        return compaction.compact(on_disk(tmp_path), lambda: NOW, limits=limits)

    assert folded(2 * size) == 0
    assert folded(2 * size + 1) == 2


async def test_a_run_folds_what_is_small_by_its_own_limits(tmp_path: Path) -> None:
    for number in range(2):
        await save(tmp_path, [number])

    async with store(tmp_path, limits=StoreLimits(full_bytes=1)) as opened:
        assert await opened.compact() == 0
    async with store(tmp_path) as opened:
        assert await opened.compact() == 2


def test_a_single_small_segment_is_left_alone_but_not_one_that_is_not_closed(
    tmp_path: Path,
) -> None:
    asyncio.run(save(tmp_path, [9]))
    assert compaction.compact(on_disk(tmp_path), lambda: NOW) == 0
    for path in files(tmp_path):
        path.unlink()
    unclosed(tmp_path, age_s=2 * DAY)

    assert compaction.compact(on_disk(tmp_path), lambda: NOW) == 1
    assert right(asyncio.run(look_up(tmp_path, range(10))), range(6))


def test_compaction_deletes_what_was_replaced_fifteen_minutes_ago_and_folds_notes_of_use(
    tmp_path: Path,
) -> None:
    folder = on_disk(tmp_path)
    replaced = tmp_path / "segment-v2-replaced.arrows"
    replaced.write_bytes(UNCLOSED)
    note_replaced(folder, [replaced.name], NOW)
    (note,) = files(tmp_path, "replaced")
    written = note.stat().st_mtime
    for number in range(17):
        record_use(folder, np.array([number], np.uint64), NOW)

    compaction.compact(folder, lambda: written + 899)
    assert (replaced.exists(), len(files(tmp_path, "used"))) == (True, 1)
    compaction.compact(folder, lambda: written + 900)

    assert (replaced.exists(), note.exists()) == (False, False)


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", range(10))
async def test_a_crash_at_any_step_of_compaction_or_deletion_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    limits = StoreLimits(full_bytes=5_300, folded_bytes=1)
    for number in range(6):
        await save(tmp_path, [2 * number, 2 * number + 1])
    steps = iter(range(100))

    def crashing(act: Callable[..., None]) -> Callable[..., None]:
        def acted(*arguments: Any) -> None:
            if next(steps) == step:
                raise Crash
            act(*arguments)

        return acted

    with monkeypatch.context() as patched:
        patched.setattr(Location, "publish", crashing(Location.publish))
        patched.setattr(Location, "remove", crashing(Location.remove))
        with pytest.raises(Crash):
            replace_and_delete(tmp_path, limits)

    assert right(await look_up(tmp_path, range(12)), range(12))
    replace_and_delete(tmp_path, limits)
    assert right(await look_up(tmp_path, range(12)), range(12))
    assert len(files(tmp_path)) == info(locate(str(tmp_path))).segments


# --- Runs that use the store meanwhile ----------------------------------------------------------


async def test_what_is_replaced_is_read_by_those_who_listed_it_and_deleted_later(
    tmp_path: Path,
) -> None:
    await save(tmp_path, [1])
    await save(tmp_path, [2])
    async with store(tmp_path) as opened:
        await compact(tmp_path)
        assert len(files(tmp_path)) == 3
        assert right(await opened.look_up(keys([1, 2])), [1, 2])

        await compact(tmp_path, HOUR_LATER)
        assert len(files(tmp_path)) == info(locate(str(tmp_path))).segments == 1
        assert right(await opened.look_up(keys([1, 2])), [1, 2])


async def test_pruning_deletes_what_is_replaced_at_once(tmp_path: Path) -> None:
    await save(tmp_path, [1, 2])
    await save(tmp_path, [3], NOW + DAY)
    await compact(tmp_path)

    assert prune(locate(str(tmp_path)), 1, clock=lambda: NOW + 1.5 * DAY).removed == 2

    assert len(files(tmp_path)) == 1
    assert files(tmp_path, "replaced") == []
    assert right(await look_up(tmp_path, range(4)), [3])


async def test_a_run_that_is_starting_finds_all_though_what_it_listed_is_gone(
    tmp_path: Path,
) -> None:
    await save(tmp_path, [1])
    await save(tmp_path, [2])
    folder = after_listing(tmp_path, lambda: replace_and_delete(tmp_path))

    assert right(await look_up(folder, [1, 2]), [1, 2])
    assert len(files(tmp_path)) == 1


async def test_earlier_answers_are_all_found_though_what_was_listed_is_gone(
    tmp_path: Path,
) -> None:
    await save(tmp_path, [1])
    await save(tmp_path, [2])
    folder = after_listing(tmp_path, lambda: replace_and_delete(tmp_path))
    asked = [request(number).scope for number in (1, 2)]

    found = QueryIndex(folder, before_us=2**62).find(asked)

    assert found.keys() == set(asked)


@pytest.mark.parametrize("listing", range(1, 8))
async def test_of_two_compactions_at_once_neither_fails_or_loses_an_answer(
    tmp_path: Path, listing: int
) -> None:
    await save(tmp_path, [1, 2])
    await save(tmp_path, [2, 3])
    folder = after_listing(tmp_path, lambda: replace_and_delete(tmp_path), listing)

    assert compaction.compact(folder, lambda: NOW) in (0, 2)

    assert right(await look_up(tmp_path, range(4)), [1, 2, 3])


async def test_facts_of_a_store_are_told_though_what_was_listed_is_gone(tmp_path: Path) -> None:
    await save(tmp_path, [1])
    await save(tmp_path, [2])

    facts = info(after_listing(tmp_path, lambda: replace_and_delete(tmp_path)))

    assert (facts.requests, facts.segments) == (2, 1)


@pytest.mark.parametrize(
    "use",
    [
        lambda folder: asyncio.run(look_up(folder, [1])),
        lambda folder: QueryIndex(folder, before_us=2**62).find([request(1).scope]),
        info,
    ],
    ids=["look-up", "earlier answers", "facts"],
)
def test_a_store_that_lists_what_can_never_be_found_is_an_error(
    tmp_path: Path, use: Callable[[Location], object]
) -> None:
    missing = FileInfo(str(tmp_path / "segment-v2-1.arrows"), 5_000)
    folder = hostile(tmp_path, lambda found: [*found, missing])

    with pytest.raises(OutputFailed) as failure:
        use(folder)

    assert str(failure.value).startswith(f"{tmp_path}: lists segments that cannot be found")


async def test_a_damaged_note_of_replaced_segments_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await save(tmp_path, [1])
    await save(tmp_path, [2])
    await compact(tmp_path)
    (note,) = files(tmp_path, "replaced")
    note.write_bytes(b"{")

    assert right(await look_up(tmp_path, [1, 2]), [1, 2])
    assert "score_store.damaged" in caplog.text
    await compact(tmp_path, HOUR_LATER)
    assert info(locate(str(tmp_path))).requests == 2
    assert not note.exists()


async def test_a_stopped_compaction_removes_nothing(tmp_path: Path) -> None:
    for number in range(4):
        await save(tmp_path, [number])
    asked = iter([False, False, True])

    removed = compaction.compact(locate(str(tmp_path)), lambda: NOW, lambda: next(asked))

    assert removed == 0
    assert right(await look_up(tmp_path, range(4)), range(4))
