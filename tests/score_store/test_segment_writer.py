"""Segments of runs that go on, and damaged ones."""

import asyncio
import threading
from pathlib import Path

import pytest
from support.disk import sync_calls
from support.score_stores import DAY, NOW, answer, keys, look_up, request, right, save, store

from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.maintenance import info
from pipeline.storage.location import locate


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
