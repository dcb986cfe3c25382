"""What pruning removes: to the microsecond, counted, and never of a run that still writes."""

import asyncio
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import Struct
from support.hostile_files import after_listing, hostile
from support.score_stores import (
    DAY,
    NOW,
    answer,
    compact,
    look_up,
    put_segment,
    request,
    right,
    save,
    store,
    unclosed_segment,
)

from pipeline.core.errors import OutputFailed
from pipeline.score_store.last_used import read_last_used, record_use
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.listing import iter_segments
from pipeline.score_store.maintenance import info
from pipeline.score_store.pruning import Pruned, prune
from pipeline.score_store.rows import prefixes
from pipeline.score_store.store import ScoreStore
from pipeline.storage.files import FileInfo
from pipeline.storage.local_files import LocalFiles
from pipeline.storage.location import Location, locate

ONE_SEGMENT = StoreLimits(max_age_s=1e9)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def pruned(folder: Path | Location, days: float, at: float, *, dry_run: bool = False) -> Pruned:
    location = folder if isinstance(folder, Location) else locate(str(folder))
    return prune(location, days, lambda: at, dry_run=dry_run)


def stored(folder: Path) -> list[int]:
    """Return the numbers of the stored answers, in order."""
    found = asyncio.run(look_up(folder, range(20)))
    assert right(found, sorted(key[0] for key in found))
    return sorted(key[0] for key in found)


def test_an_answer_is_kept_if_it_was_saved_or_used_at_the_first_moment_that_counts(
    tmp_path: Path,
) -> None:
    begun = NOW - 10 * DAY
    for number, after_s in ((1, -1e-6), (2, 0.0), (3, -DAY), (4, -DAY), (5, DAY)):
        asyncio.run(save(tmp_path, [number], begun + after_s))
    for number, after_s in ((3, -1e-6), (4, 0.0)):
        key = np.array(prefixes(request(number).key))
        record_use(locate(str(tmp_path)), key, begun + after_s)

    result = pruned(tmp_path, 10, NOW)

    assert stored(tmp_path) == [2, 4, 5]
    assert (result.removed, result.kept) == (2, 3)


def test_what_is_removed_is_counted_by_its_share_of_each_segment(tmp_path: Path) -> None:
    """Of three answers one is needed, of two none, of two both."""
    clock = [NOW]

    async def two_nights() -> None:
        async with ScoreStore(
            locate(str(tmp_path)), clock=lambda: clock[0], linger_s=0.0, limits=ONE_SEGMENT
        ) as opened:
            for number, at in ((0, NOW), (1, NOW), (2, NOW + 2 * DAY)):
                clock[0] = at
                await opened.save(request(number), answer(number))
                await opened.flush()

    asyncio.run(two_nights())
    asyncio.run(save(tmp_path, [4, 5], NOW + 1))
    asyncio.run(save(tmp_path, [6, 7], NOW + 2 * DAY))
    first, second, _ = (one.size_bytes for one in iter_segments(locate(str(tmp_path))))

    result = pruned(tmp_path, 1, NOW + 2 * DAY)

    assert result == Pruned(4, 3, first * 2 // 3 + second)
    assert stored(tmp_path) == [2, 6, 7]


def test_a_dry_run_counts_the_same_and_changes_nothing(tmp_path: Path) -> None:
    asyncio.run(save(tmp_path, [1, 2], NOW))
    asyncio.run(save(tmp_path, [3], NOW + DAY))
    asyncio.run(compact(tmp_path))
    record_use(locate(str(tmp_path)), np.array([5], np.uint64), NOW)
    before = files(tmp_path)

    told = pruned(tmp_path, 1, NOW + 1.5 * DAY, dry_run=True)
    unchanged = files(tmp_path) == before
    done = pruned(tmp_path, 1, NOW + 1.5 * DAY)

    assert unchanged
    assert told == done
    assert (done.removed, done.kept) == (2, 1)
    assert [name.split("-")[0] for name in files(tmp_path)] == ["segment"]
    assert stored(tmp_path) == [3]


def test_uses_before_the_moment_are_forgotten_and_the_others_kept(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    for number, at in ((1, NOW), (2, NOW + DAY), (3, NOW + 2 * DAY)):
        record_use(folder, np.array([number], np.uint64), at)

    pruned(tmp_path, 1, NOW + 2 * DAY)

    assert read_last_used(folder)[0].tolist() == [2, 3]


def test_a_segment_of_which_all_is_needed_is_left_as_it_is(tmp_path: Path) -> None:
    asyncio.run(save(tmp_path, [1, 2], NOW))
    before = files(tmp_path)

    assert pruned(tmp_path, 1, NOW + DAY / 2) == Pruned(0, 2, 0)
    assert files(tmp_path) == before


@pytest.mark.parametrize("count", [1, 2])
def test_a_segment_of_which_nothing_is_needed_is_removed_whole_whatever_the_clock_says(
    tmp_path: Path, count: int
) -> None:
    """By this machine's clock the files are written in the future."""
    asyncio.run(save(tmp_path, range(count), NOW - 10 * DAY))
    size = info(locate(str(tmp_path))).size_bytes

    assert pruned(tmp_path, 1, NOW - 5 * DAY) == Pruned(count, 0, size)
    assert files(tmp_path) == {}
    assert pruned(tmp_path, 1, NOW - 5 * DAY) == Pruned(0, 0, 0)


def test_a_dead_runs_segment_without_an_answer_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "segment-v2-20200101T000000-000000-aaaaaaaa.arrows"
    path.write_bytes(unclosed_segment([])[0])
    os.utime(path, (NOW - 2 * DAY, NOW - 2 * DAY))

    assert pruned(tmp_path, 1, NOW) == Pruned(0, 0, 0)


class FilesGoneOnce(Struct, frozen=True):
    """Local files of which one seems to be gone when it is read for the first time."""

    gone: list[str]

    def read_ranges(self, path: str, ranges: Any) -> list[bytes]:
        if path in self.gone:
            self.gone.remove(path)
            raise FileNotFoundError(path)
        return LocalFiles().read_ranges(path, ranges)

    def __getattr__(self, name: str) -> Any:
        return getattr(LocalFiles(), name)


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_was_pruned_before_segments_had_to_be_listed_again_is_counted_once(
    tmp_path: Path, dry_run: bool
) -> None:
    put_segment(locate(str(tmp_path)), [(1, 5), (2, int(NOW * 1e6))])
    ((place, _),) = put_segment(locate(str(tmp_path)), [(3, 5), (4, 5)], at=NOW + 1)
    files = FilesGoneOnce([f"{tmp_path}/{place.segment}"])
    folder = Location(files, str(tmp_path), str(tmp_path))

    result = pruned(folder, 1, NOW, dry_run=dry_run)

    assert (result.removed, result.kept) == (3, 1)
    assert files.gone == []
    assert info(folder).requests == (4 if dry_run else 1)


def test_a_store_that_lists_what_is_never_there_is_an_error(tmp_path: Path) -> None:
    gone = FileInfo(str(tmp_path / "segment-v2-1.arrows"), 500)

    with pytest.raises(OutputFailed, match=f"{tmp_path}: lists segments that cannot be found"):
        pruned(hostile(tmp_path, lambda listed: [*listed, gone]), 1, NOW)


async def test_what_a_run_still_writes_is_neither_removed_nor_counted(tmp_path: Path) -> None:
    await save(tmp_path, [1])
    async with store(tmp_path) as living:
        await living.save(request(2), answer(2))
        await living.flush()

        assert prune(locate(str(tmp_path)), 1, lambda: NOW + 2 * DAY).removed == 1
        await living.save(request(3), answer(3))

    assert right(await look_up(tmp_path, range(4)), [2, 3])


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_answer_is_counted_once_though_segments_are_replaced_meanwhile(
    tmp_path: Path, dry_run: bool
) -> None:
    for number in range(3):
        asyncio.run(save(tmp_path, [number], NOW + number * DAY))

    def other_run() -> None:
        pruned(tmp_path, 1, NOW + 2 * DAY)

    result = pruned(after_listing(tmp_path, other_run), 1, NOW + 2 * DAY, dry_run=dry_run)

    assert (result.removed, result.kept) == (0, 2)
    assert stored(tmp_path) == [1, 2]


def test_a_damaged_answer_is_not_written_anew(tmp_path: Path) -> None:
    asyncio.run(save(tmp_path, [1], NOW))
    asyncio.run(save(tmp_path, [2, 3], NOW + DAY))
    for path in tmp_path.glob("segment-*"):
        content = bytearray(path.read_bytes())
        place = content.find(answer(3).scores.tobytes())
        if place >= 0:
            content[place] ^= 1
        path.write_bytes(content)
    asyncio.run(compact(tmp_path))

    pruned(tmp_path, 1, NOW + 2 * DAY)

    assert stored(tmp_path) == [2]
