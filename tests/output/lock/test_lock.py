import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.core.errors import OutputBusy, OutputFailed
from pipeline.output.lock.lease import Lease, Written
from pipeline.output.lock.lock import OutputLock
from pipeline.storage.location import locate

HOLDER = """
import asyncio, sys
from pipeline.output.lock.lock import OutputLock
from pipeline.storage.location import locate

async def hold():
    async with OutputLock(locate(sys.argv[1])):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(hold())
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the output until it is killed or its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.communicate()


async def test_a_second_run_is_refused_and_told_who_holds_the_output(tmp_path: Path) -> None:
    other = holder(tmp_path)

    with pytest.raises(OutputBusy) as busy:
        async with OutputLock(locate(str(tmp_path))):
            pass
    end(other)

    assert busy.value.exit_code == 6
    assert str(busy.value).startswith(
        f"{tmp_path}: another run holds this output (found process {other.pid} on "
    )
    assert "wait for that run with --lock-wait SECONDS" in str(busy.value)


async def test_a_killed_runs_lock_is_free_at_once(tmp_path: Path) -> None:
    other = holder(tmp_path)
    os.kill(other.pid, signal.SIGKILL)
    end(other)

    async with OutputLock(locate(str(tmp_path))):
        pass


async def test_a_run_waits_for_the_output_as_long_as_it_may(tmp_path: Path) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with OutputLock(locate(str(tmp_path))):
        with pytest.raises(OutputBusy):
            async with OutputLock(locate(str(tmp_path)), wait_s=1.1, sleep=pause):
                pass

    assert sum(pauses) == pytest.approx(1.1)


async def test_a_waiting_run_gets_the_output_when_it_becomes_free(tmp_path: Path) -> None:
    first = OutputLock(locate(str(tmp_path)))
    await first.__aenter__()

    async def pause(_: float) -> None:
        await first.__aexit__(None, None, None)

    async with OutputLock(locate(str(tmp_path)), wait_s=10, sleep=pause):
        pass


async def test_the_lock_is_free_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        async with OutputLock(locate(str(tmp_path))):
            raise RuntimeError

    async with OutputLock(locate(str(tmp_path))):
        pass


async def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(OutputFailed, match=r"file/out/_lock: cannot be locked: Not a directory"):
        async with OutputLock(locate(str(tmp_path / "file" / "out"))):
            pass


# --- The lease ----------------------------------------------------------------------------------


class World:
    """A store with its own clock, and machines whose clocks go their own ways."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.there: Written | None = None
        self.writes = 0
        self.reachable = True
        self.lost_answers = 0

    async def read(self) -> Written | None:
        self._reach()
        return self.there

    async def write(self, content: bytes, expected: str | None) -> str | None:
        self._reach()
        if (self.there.version if self.there else None) != expected:
            return None
        self.writes += 1
        self.there = Written(content, str(self.writes), await self.now())
        if self.lost_answers:
            self.lost_answers -= 1
            raise OutputFailed("time-out")
        return self.there.version

    async def now(self) -> datetime:
        return datetime(2001, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def _reach(self) -> None:
        if not self.reachable:
            raise OutputFailed("out of reach")

    def lease(self, pid: int, steps: Callable[[], None] = lambda: None) -> Lease:
        """A run's lease; while it sleeps the time passes and `steps` happen."""

        async def sleep(seconds: float) -> None:
            self.seconds += seconds
            steps()
            await asyncio.sleep(0)

        owner = {"host": "here", "pid": pid, "since": "then"}
        return Lease(self, owner, sleep=sleep, monotonic=lambda: self.seconds + 1e6 * pid)


async def test_a_lease_is_taken_by_one_run_alone() -> None:
    world = World()

    assert await world.lease(1).take()
    assert not await world.lease(2).take()
    assert json.loads(world.there.content)["pid"] == 1 if world.there else False


async def test_a_released_lease_is_free_at_once() -> None:
    world = World()
    first = world.lease(1)
    await first.take()
    await first.release()

    assert await world.lease(2).take()


async def test_a_dead_runs_lease_is_free_after_a_minute_by_the_stores_clock() -> None:
    world = World()
    await world.lease(1).take()

    world.seconds = 59.0
    assert not await world.lease(2).take()
    world.seconds = 61.0
    assert await world.lease(2).take()


async def test_of_two_runs_that_find_an_expired_lease_one_gets_it() -> None:
    world = World()
    await world.lease(1).take()
    world.seconds = 61.0

    taken = await asyncio.gather(*(world.lease(pid).take() for pid in (2, 3, 4)))

    assert sorted(taken) == [False, False, True]


async def test_a_renewed_lease_never_expires() -> None:
    world = World()
    refused: list[bool] = []

    def steps() -> None:
        if world.seconds > 3_600:
            raise TimeoutError

    lease = world.lease(1, steps)
    await lease.take()
    keeping = asyncio.create_task(lease.keep())
    while not keeping.done():
        refused.append(await world.lease(2).take())
        await asyncio.sleep(0)

    assert isinstance(keeping.exception(), TimeoutError)
    assert len(refused) > 100
    assert not any(refused)


async def test_an_owner_that_slept_finds_its_lease_taken_at_its_next_renewal() -> None:
    world = World()
    asleep = world.lease(1)
    await asleep.take()
    world.seconds += 100
    other = world.lease(2)
    assert await other.take()

    await asleep.keep()  # returns: it is lost

    await asleep.release()
    assert json.loads(await other.holder())["pid"] == 2  # and the other's lease is left alone


async def test_an_owner_out_of_reach_gives_up_before_others_may_take_over() -> None:
    world = World()
    lease = world.lease(1)
    await lease.take()
    world.reachable = False

    await lease.keep()

    assert 45 < world.seconds < 60


async def test_a_short_outage_of_the_store_is_survived() -> None:
    world = World()

    def steps() -> None:
        world.reachable = not 10 < world.seconds < 40
        if world.seconds > 300:
            raise TimeoutError

    lease = world.lease(1, steps)
    await lease.take()

    with pytest.raises(TimeoutError):
        await lease.keep()


async def test_a_renewal_that_arrived_without_its_answer_is_recognised() -> None:
    world = World()

    def steps() -> None:
        world.lost_answers = 1 if world.seconds < 20 else 0
        if world.seconds > 100:
            raise TimeoutError

    lease = world.lease(1, steps)
    await lease.take()

    with pytest.raises(TimeoutError):
        await lease.keep()


async def test_a_run_that_loses_its_lease_ends_as_busy(tmp_path: Path) -> None:
    world = World()

    def steps() -> None:
        world.there = Written(
            b'{"host": "there", "pid": 2, "since": "now"}', "x", datetime.now(UTC)
        )

    async def work() -> None:
        async with OutputLock(locate(str(tmp_path)), hold=world.lease(1, steps)):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.Event().wait())

    with pytest.raises(OutputBusy) as busy:
        await work()

    assert "the hold on this output was lost (found process 2 on there, since now)" in str(
        busy.value
    )


async def test_a_run_that_is_cancelled_otherwise_stays_cancelled(tmp_path: Path) -> None:
    async def hold() -> None:
        async with OutputLock(locate(str(tmp_path))):
            await asyncio.Event().wait()

    running = asyncio.create_task(hold())
    await asyncio.sleep(0)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
