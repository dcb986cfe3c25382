"""Whatever the disk does, an answer that was handed over is kept, and written in the end."""

import asyncio
import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.hostile_files import remote
from support.score_stores import NOW, answer, keys, look_up, request, right

from pipeline.core.backoff import Backoff
from pipeline.core.errors import OutputFailed
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.maintenance import info
from pipeline.score_store.store import ScoreStore
from pipeline.storage.location import Location, locate
from pipeline.storage.retries import Patience

AT_ONCE = Backoff(0.0, 0.0)
PATIENT, IMPATIENT = Patience(backoff=AT_ONCE), Patience(max_outage_s=-1.0, backoff=AT_ONCE)


class Disk:
    """A disk that may be full.

    Attributes:
        fails: Whether a write fails; asked for each.
        half_written: Whether a failing write has written half of its bytes.
        num_failed: Writes that failed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails: Callable[[], bool] = lambda: False
        self.half_written = False
        self.num_failed = 0
        self._write = os.write
        monkeypatch.setattr("os.write", self.write)

    def write(self, file: int, content: memoryview) -> int:
        """Write, or fail."""
        if not self.fails():
            return self._write(file, content)
        self.num_failed += 1
        if self.half_written and len(content) > 10:
            return self._write(file, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def patient(folder: Path, patience: Patience = PATIENT, **how: Any) -> ScoreStore:
    return ScoreStore(
        locate(str(folder)), clock=lambda: NOW, patience=patience, **{"linger_s": 0.0} | how
    )


async def save(opened: ScoreStore, *numbers: int) -> None:
    for number in numbers:
        await opened.save(request(number), answer(number))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # nothing else tells
            await asyncio.sleep(0.001)


async def test_what_cannot_be_written_is_kept_and_written_when_the_disk_has_room(
    tmp_path: Path, disk: Disk
) -> None:
    async with patient(tmp_path) as opened:
        disk.fails = lambda: True
        await save(opened, 1, 2)
        await until(lambda: disk.num_failed > 3)
        await save(opened, 3)
        assert right(await opened.look_up(keys([1, 2, 3])), [1, 2, 3])
        tried = disk.num_failed
        await until(lambda: disk.num_failed > tried + 2)
        assert right(await opened.look_up(keys([1, 2, 3])), [1, 2, 3])
        assert opened.num_unsaved == 3
        assert await look_up(tmp_path, [1, 2, 3]) == {}

        disk.fails = lambda: False
        await opened.flush()
        assert right(await look_up(tmp_path, [1, 2, 3]), [1, 2, 3])


async def test_nothing_passes_the_gate_while_answers_cannot_be_written(
    tmp_path: Path, disk: Disk
) -> None:
    async with patient(tmp_path) as opened:
        assert opened.gate.is_open
        disk.fails = lambda: True
        await save(opened, 1)
        await until(lambda: not opened.gate.is_open)
        passing = asyncio.create_task(opened.gate.wait())
        await asyncio.sleep(0.01)
        assert not passing.done()

        disk.fails = lambda: False
        async with asyncio.timeout(20):
            await passing
        assert opened.gate.is_open


async def test_a_write_that_takes_long_closes_the_gate_too(tmp_path: Path, disk: Disk) -> None:
    slow = threading.Event()
    async with patient(tmp_path, limits=StoreLimits(slow_after_s=0.0)) as opened:
        disk.fails = lambda: not slow.wait(20)
        await save(opened, 1)
        await until(lambda: not opened.gate.is_open)
        slow.set()
        await opened.flush()

        assert opened.gate.is_open


async def test_a_write_that_was_quick_closes_no_gate_later(tmp_path: Path) -> None:
    loop, slow_after_s = asyncio.get_running_loop(), 0.02
    async with patient(tmp_path, limits=StoreLimits(slow_after_s=slow_after_s)) as opened:
        await save(opened, 1)
        await opened.flush()
        later = loop.create_future()
        loop.call_later(slow_after_s, later.set_result, None)
        await later

        assert opened.gate.is_open


async def test_an_answer_that_is_saved_again_before_it_is_written_is_waited_for_once(
    tmp_path: Path, disk: Disk
) -> None:
    async with patient(tmp_path) as opened:
        disk.fails = lambda: True
        await save(opened, 1)
        await until(lambda: disk.num_failed > 0)
        await save(opened, 1)
        tried = disk.num_failed
        await until(lambda: disk.num_failed > tried + 2)
        disk.fails = lambda: False
        await opened.flush()

        assert (opened.num_unsaved, opened.gate.is_open) == (0, True)


async def test_a_half_written_batch_is_taken_back_before_the_next_try(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    async with patient(tmp_path) as opened:
        await save(opened, 1)
        await opened.flush()
        disk.half_written, disk.fails = True, lambda: True
        await save(opened, 2)
        await until(lambda: disk.num_failed > 20)
        disk.fails = lambda: False
        await opened.flush()
        await save(opened, 3)

    caplog.clear()
    assert right(await look_up(tmp_path, [1, 2, 3]), [1, 2, 3])
    assert (info(locate(str(tmp_path))).segments, caplog.records) == (1, [])


async def test_a_file_that_cannot_be_mended_is_left_for_another(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async with patient(tmp_path) as opened:
        await save(opened, 1)
        await opened.flush()
        with monkeypatch.context() as patched:
            patched.setattr("os.ftruncate", broken)
            disk.half_written, disk.fails = True, lambda: disk.num_failed < 9
            await save(opened, 2)
            await opened.flush()

    assert right(await look_up(tmp_path, [1, 2]), [1, 2])


async def test_a_full_segment_that_cannot_be_closed_is_closed_before_the_next_answer(
    tmp_path: Path, disk: Disk
) -> None:
    async with patient(tmp_path, limits=StoreLimits(full_bytes=1)) as opened:
        await save(opened, 1)
        await opened.flush()
        disk.fails = lambda: disk.num_failed < 3
        await save(opened, 2)
        await opened.flush()

    facts = info(locate(str(tmp_path)))
    assert (disk.num_failed, facts.segments, facts.requests) == (3, 2, 2)
    assert right(await look_up(tmp_path, [1, 2]), [1, 2])


async def test_a_disk_that_stays_full_is_told_and_what_arrives_later_is_saved_at_the_close(
    tmp_path: Path, disk: Disk
) -> None:
    async with patient(tmp_path, IMPATIENT) as opened:
        disk.fails = lambda: True
        await save(opened, 1)
        with pytest.raises(OutputFailed) as failure:
            await opened.flush()
        with pytest.raises(OutputFailed, match="No space left"):
            await opened.gate.wait()
        with pytest.raises(OutputFailed, match="No space left"):
            await save(opened, 2)
        disk.fails = lambda: False

    assert "cannot be written: No space left on device" in str(failure.value)
    assert "of --max-outage" in str(failure.value)
    assert "free disk space" in str(failure.value)
    assert right(await look_up(tmp_path, [1, 2]), [1, 2])


async def test_answers_that_are_lost_in_the_end_are_counted_in_one_line(
    tmp_path: Path, disk: Disk
) -> None:
    opened = patient(tmp_path)
    await opened.__aenter__()
    await save(opened, 1)
    await opened.flush()
    disk.fails = lambda: True
    await save(opened, 2, 3)
    with pytest.raises(OutputFailed) as failure:
        await opened.__aexit__(None, None, None)

    assert f"{tmp_path}: 2 paid answers are lost: cannot be written: No space" in str(failure.value)
    assert right(await look_up(tmp_path, [1, 2, 3]), [1])


async def test_saving_waits_while_too_much_waits_to_be_written(tmp_path: Path, disk: Disk) -> None:
    limits, has_room = StoreLimits(max_waiting=4), threading.Event()
    async with patient(tmp_path, linger_s=3600.0, limits=limits) as opened:
        await save(opened, *range(4))
        assert await look_up(tmp_path, range(4)) == {}
        disk.fails = lambda: not has_room.wait(20)
        saving = asyncio.create_task(save(opened, 4))
        await asyncio.sleep(0.01)
        assert not saving.done()
        has_room.set()
        await saving

        assert right(await look_up(tmp_path, range(5)), range(5))


async def test_whoever_is_cancelled_while_handing_over_or_writing_loses_no_answer(
    tmp_path: Path, disk: Disk
) -> None:
    limits, has_room = StoreLimits(max_waiting=1), threading.Event()
    async with patient(tmp_path, linger_s=3600.0, limits=limits) as opened:
        await save(opened, 1)
        disk.fails = lambda: not has_room.wait(20)
        tasks = [asyncio.create_task(opened.flush()), asyncio.create_task(save(opened, 2, 3))]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        has_room.set()
        await save(opened, 4)
        await opened.flush()

        assert right(await opened.look_up(keys(range(1, 5))), range(1, 5))
    assert right(await look_up(tmp_path, range(1, 5)), range(1, 5))


async def test_closing_does_not_wait_for_the_next_try(tmp_path: Path, disk: Disk) -> None:
    async with asyncio.timeout(20):
        async with patient(
            tmp_path, Patience(backoff=Backoff(3_600.0, 3_600.0), max_outage_s=1e9)
        ) as opened:
            disk.fails = lambda: disk.num_failed < 1
            await save(opened, 1)
            await until(lambda: disk.num_failed > 0)

    assert right(await look_up(tmp_path, [1]), [1])


@pytest.mark.parametrize(
    ("place", "given_s", "linger_s"),
    [
        (lambda path: locate(str(path)), None, 0.02),
        (remote, None, 1.0),
        (remote, 7.0, 7.0),
    ],
    ids=["disk", "object store", "as set"],
)
async def test_the_first_answer_of_a_batch_waits_for_others_and_how_long_depends_on_the_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: Callable[[Path], Location],
    given_s: float | None,
    linger_s: float,
) -> None:
    loop, delays = asyncio.get_running_loop(), []
    call_later = loop.call_later

    def recorded(delay: float, *what: Any) -> asyncio.TimerHandle:
        delays.append(delay)
        return call_later(delay, *what)

    async with ScoreStore(place(tmp_path), clock=lambda: NOW, linger_s=given_s) as opened:
        monkeypatch.setattr(loop, "call_later", recorded)
        await save(opened, 1)
        assert delays == [linger_s]
        await save(opened, 2)
        assert delays == [linger_s]


async def test_whoever_does_not_insist_writes_once_or_is_told_why_not(
    tmp_path: Path, disk: Disk
) -> None:
    async with patient(tmp_path, linger_s=3_600.0) as opened:
        await save(opened, 1)
        await opened.flush(insist=False)
        assert right(await look_up(tmp_path, [1, 2]), [1])
        disk.fails = lambda: True
        await save(opened, 2)

        for _ in range(2):  # once for its own try, then for that one
            with pytest.raises(OutputFailed, match="No space left"):
                await opened.flush(insist=False)
            assert disk.num_failed == 1
        disk.fails = lambda: False

    assert right(await look_up(tmp_path, [1, 2]), [1, 2])


async def test_compaction_insists_on_what_has_arrived(tmp_path: Path, disk: Disk) -> None:
    async with patient(tmp_path, linger_s=3_600.0) as opened:
        await save(opened, 1)
        disk.fails = lambda: disk.num_failed < 3

        assert await opened.compact() == 0

        assert disk.num_failed == 3
        assert right(await look_up(tmp_path, [1]), [1])


async def test_answers_that_are_lost_for_another_reason_are_told_with_that_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise MemoryError("no memory for it")

    opened = patient(tmp_path, linger_s=3_600.0)
    await opened.__aenter__()
    await save(opened, 1)
    with monkeypatch.context() as patched:
        patched.setattr("os.write", broken)
        with pytest.raises(OutputFailed, match="1 paid answers are lost: no memory for it") as lost:
            await opened.__aexit__(None, None, None)

    assert isinstance(lost.value.__cause__, MemoryError)


async def test_whoever_is_cancelled_while_it_closes_leaves_a_disk_that_hangs_to_finish_the_write(
    tmp_path: Path, disk: Disk
) -> None:
    wakes, asleep, awake = threading.Event(), threading.Event(), []
    opened = patient(tmp_path, linger_s=3_600.0)
    await opened.__aenter__()
    await save(opened, 1)

    def hangs() -> bool:
        asleep.set()
        wakes.wait(10)
        awake.append(True)
        return False

    disk.fails = hangs
    closing = asyncio.create_task(opened.__aexit__(None, None, None))
    await until(asleep.is_set)
    closing.cancel()
    await asyncio.wait([closing])

    assert closing.cancelled()
    assert awake == []
    await asyncio.sleep(0.05)  # the segment could be closed meanwhile
    wakes.set()
    (child,) = locate(str(tmp_path)).children()
    segment = tmp_path / child.base_name
    await until(lambda: answer(1).scores.tobytes() in segment.read_bytes())


async def test_a_segment_that_could_not_be_finished_is_not_locked_any_more(
    tmp_path: Path, disk: Disk
) -> None:
    opened = patient(tmp_path)
    await opened.__aenter__()
    await save(opened, 1)
    await opened.flush()
    (child,) = locate(str(tmp_path)).children()
    disk.fails = lambda: True
    await save(opened, 2)
    with pytest.raises(OutputFailed):
        await opened.__aexit__(None, None, None)

    def is_free() -> bool:
        with (tmp_path / child.base_name).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    await until(is_free)
