"""One writer per output: on disk by the system's lock, on an object store by a lease."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.object_store import Store, moto_store

from pipeline.core.errors import OutputBusy, OutputFailed
from pipeline.core.gate import Gate
from pipeline.core.shard import Shard
from pipeline.output.lock.file_lock import FileLock
from pipeline.output.lock.lease import Lease, LeaseTimes
from pipeline.output.lock.lock import hold_opening, hold_output
from pipeline.output.lock.output_lock import Lock, OutputLock, is_held, opening_lock
from pipeline.output.lock.owner_process import Owner, read_owner, this_process
from pipeline.storage.conditional import ConditionalObject
from pipeline.storage.location import Location, locate
from pipeline.storage.object_stores import Timeouts

HOLDER = """
import asyncio, sys
from pipeline.output.lock.lock import hold_output
from pipeline.storage.location import locate

async def hold():
    async with hold_output(locate(sys.argv[1])):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(hold())
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Start another process that holds the output until it is killed or its stdin ends."""
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
        async with hold_output(locate(str(tmp_path))):
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

    async with hold_output(locate(str(tmp_path))):
        pass


async def test_a_run_waits_for_the_output_as_long_as_it_may(tmp_path: Path) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with hold_output(locate(str(tmp_path))):
        with pytest.raises(OutputBusy):
            async with hold_output(locate(str(tmp_path)), wait_s=1.1, sleep=pause):
                pass

    assert pauses == pytest.approx([0.25] * 4 + [0.1])


async def test_a_waiting_run_gets_the_output_when_it_becomes_free(tmp_path: Path) -> None:
    first = hold_output(locate(str(tmp_path)))
    await first.__aenter__()

    async def pause(_: float) -> None:
        await first.__aexit__(None, None, None)

    async with hold_output(locate(str(tmp_path)), wait_s=10, sleep=pause):
        pass


async def test_the_lock_is_free_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        async with hold_output(locate(str(tmp_path))):
            raise RuntimeError

    async with hold_output(locate(str(tmp_path))):
        pass


async def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(OutputFailed, match=r"file/out/_lock: cannot be locked: Not a directory"):
        async with hold_output(locate(str(tmp_path / "file" / "out"))):
            pass


async def test_an_output_is_made_with_its_folders_and_held_for_certain(tmp_path: Path) -> None:
    async with hold_output(locate(str(tmp_path / "some" / "where" / "out"))) as gate:
        assert gate.is_open


async def test_whoever_may_write_files_there_may_hold_the_output(tmp_path: Path) -> None:
    (tmp_path / "another").write_bytes(b"")

    async with hold_output(locate(str(tmp_path))):
        pass

    assert (tmp_path / "_lock").stat().st_mode == (tmp_path / "another").stat().st_mode


async def test_a_lock_whose_owner_cannot_be_written_is_not_held(tmp_path: Path) -> None:
    (tmp_path / "_lock").symlink_to("/dev/full")

    with pytest.raises(OutputFailed, match="_lock: cannot be locked: "):
        async with hold_output(locate(str(tmp_path))):
            pass


def test_a_lock_that_cannot_be_looked_at_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "_lock").symlink_to(tmp_path / "_lock")

    with pytest.raises(OutputFailed, match="_lock: cannot be accessed: Too many levels"):
        is_held(locate(str(tmp_path)))


async def test_to_give_up_a_lock_that_is_not_held_is_nothing(tmp_path: Path) -> None:
    lock = FileLock(locate(str(tmp_path / "_lock")))

    await lock.release()
    assert await lock.try_acquire()
    for _ in range(2):
        await lock.release()

    assert not is_held(locate(str(tmp_path)))


async def test_a_run_that_is_cancelled_otherwise_stays_cancelled(tmp_path: Path) -> None:
    async def hold() -> None:
        async with hold_output(locate(str(tmp_path))):
            await asyncio.Event().wait()

    running = asyncio.create_task(hold())
    await asyncio.sleep(0)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    async with hold_output(locate(str(tmp_path))):
        pass


class LostLock:
    """A lock that another run takes over at once."""

    released = False
    gate = Gate()

    async def try_acquire(self) -> bool:
        return True

    async def holder(self) -> Owner:
        return Owner(host="there", pid=2, since="now")

    async def keep(self) -> None:
        """Return at once, since the lock is lost."""

    async def release(self) -> None:
        self.released = True


async def test_a_run_that_loses_its_lock_is_cancelled_and_ends_as_busy(tmp_path: Path) -> None:
    lock = LostLock()

    async def work() -> None:
        async with hold_output(locate(str(tmp_path)), lock=lock), asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.Event().wait())

    with pytest.raises(OutputBusy) as busy:
        await work()

    assert "the lock on this output was lost (found process 2 on there, since now)" in str(
        busy.value
    )
    assert not lock.released


async def test_a_lock_lost_in_the_moment_of_a_cancellation_is_not_given_up(tmp_path: Path) -> None:
    """Another run holds it: to release it would free that run's lock."""
    lost = asyncio.Event()

    class LosableLock(LostLock):
        async def keep(self) -> None:
            await lost.wait()

    lock = LosableLock()

    async def work() -> None:
        async with hold_output(locate(str(tmp_path)), lock=lock):
            await asyncio.Event().wait()

    running = asyncio.create_task(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    lost.set()
    running.cancel()

    with pytest.raises(OutputBusy):
        await running
    assert not lock.released


async def test_the_body_of_a_lost_lock_has_ended_before_the_new_holder_is_asked_for(
    tmp_path: Path,
) -> None:
    events = list[str]()

    class WatchedLock(LostLock):
        async def holder(self) -> Owner:
            events.append("holder asked for")
            return await super().holder()

    async def work() -> None:
        async with hold_output(locate(str(tmp_path)), lock=WatchedLock()):
            try:
                await asyncio.Event().wait()
            finally:
                events.append("body ended")

    with pytest.raises(OutputBusy):
        await work()

    assert events == ["body ended", "holder asked for"]


async def test_a_lock_that_cannot_be_renewed_for_too_long_is_a_failure_of_the_place(
    tmp_path: Path,
) -> None:
    class UnreachableLock(LostLock):
        async def keep(self) -> None:
            raise OutputFailed("cannot be written: out of reach", which="s3://lake/out/_lock")

    with pytest.raises(OutputFailed, match="out of reach"):
        async with hold_output(locate(str(tmp_path / "out")), lock=UnreachableLock()):
            await asyncio.Event().wait()


async def test_whoever_holds_a_lost_lock_need_not_be_known(tmp_path: Path) -> None:
    class NobodysLock(LostLock):
        async def holder(self) -> Owner:
            raise OutputFailed("out of reach", which="_lock")

    with pytest.raises(OutputBusy) as busy:
        async with hold_output(locate(str(tmp_path)), lock=NobodysLock()):
            await asyncio.Event().wait()

    assert "the lock on this output was lost (found an unknown owner)" in str(busy.value)


async def test_a_lock_whose_renewal_fails_in_any_way_counts_as_lost(tmp_path: Path) -> None:
    class FailingLock(LostLock):
        async def keep(self) -> None:
            raise RuntimeError("not foreseen")

    async def work() -> None:
        async with hold_output(locate(str(tmp_path)), lock=FailingLock()):
            await asyncio.Event().wait()

    with pytest.raises(OutputBusy, match="the lock on this output was lost"):
        await work()


def test_the_lock_file_names_its_owner_and_is_held_only_meanwhile(tmp_path: Path) -> None:
    output = locate(str(tmp_path / "out"))

    async def hold() -> dict[str, object]:
        async with hold_output(output):
            assert is_held(output)
            content = output.child("_lock").read()
            return dict(json.loads(content or b""))

    assert not is_held(output)
    assert asyncio.run(hold())["pid"] == os.getpid()
    assert not is_held(output)


async def test_what_an_earlier_owner_wrote_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "_lock").write_text("x" * 10_000)

    async with hold_output(locate(str(tmp_path))):
        owner = read_owner((tmp_path / "_lock").read_bytes())

    assert owner is not None
    assert owner.pid == os.getpid()
    assert (tmp_path / "_lock").exists(), "else two runs could lock two files"


async def held_meanwhile(output: Location, shard: Shard | None) -> str:
    """Return why an output, or a shard of it, cannot be held now; nothing if it can."""
    try:
        async with hold_output(output, shard=shard):
            return ""
    except OutputBusy as busy:
        return str(busy)


async def test_shards_of_one_count_are_held_at_once_but_each_by_one_run(tmp_path: Path) -> None:
    output = locate(str(tmp_path))
    async with hold_output(output, shard=Shard(1, 2)):
        assert await held_meanwhile(output, Shard(2, 2)) == ""
        assert "another run holds this output, or its shard 1/2 (found process" in (
            await held_meanwhile(output, Shard(1, 2))
        )
        assert is_held(output)

    assert not is_held(output)


@pytest.mark.parametrize("other", [None, Shard(1, 3), Shard(1, 12)])
async def test_a_shard_excludes_the_whole_output_and_shards_of_other_counts(
    other: Shard | None, tmp_path: Path
) -> None:
    output, shard = locate(str(tmp_path)), Shard(2, 2)

    async with hold_output(output, shard=shard):
        assert f"(found process {os.getpid()} on " in await held_meanwhile(output, other)
    async with hold_output(output, shard=other):
        assert f"(found process {os.getpid()} on " in await held_meanwhile(output, shard)

    assert await held_meanwhile(output, shard) == ""
    assert await held_meanwhile(output, other) == "", "nothing is left held by those refused"


@pytest.mark.parametrize("is_brief", [False, True])
async def test_a_run_that_waits_says_so_once_unless_that_is_usual(
    is_brief: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def pause(_: float) -> None:
        """Take no time."""

    async with hold_output(locate(str(tmp_path))):
        with pytest.raises(OutputBusy):
            async with hold_output(locate(str(tmp_path)), wait_s=2, is_brief=is_brief, sleep=pause):
                pass

    assert len(caplog.records) == (0 if is_brief else 1)


async def test_what_all_shards_need_once_is_done_by_one_after_the_other(tmp_path: Path) -> None:
    output, events = locate(str(tmp_path)), list[str]()

    async def open_once(name: str) -> None:
        async with hold_opening(output):
            events.append(f"{name} begins")
            await asyncio.to_thread(int)
            events.append(f"{name} ends")

    async with hold_output(output, shard=Shard(1, 2)), asyncio.TaskGroup() as tasks:
        tasks.create_task(open_once("one"))
        tasks.create_task(open_once("other"))

    assert events == ["one begins", "one ends", "other begins", "other ends"]
    assert all(info.base_name.startswith("_") for info in output.children()), "no results"


# --- On an object store ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket() -> Iterator[Store]:
    with moto_store() as running:
        yield running


@pytest.fixture
def folder(bucket: Store, request: pytest.FixtureRequest) -> Location:
    return bucket.at(f"{abs(hash(request.node.name))}/out")


def lease(folder: Location, owner: Owner, **how: LeaseTimes) -> Lease:
    async def no_pause(_: float) -> None:
        await asyncio.sleep(0)

    place = ConditionalObject(folder.child("_lock"), Timeouts())
    return Lease(place, owner, sleep=no_pause, **how)


OTHER = Owner(host="other", pid=1, since="then")


async def test_an_output_there_is_held_and_given_up(folder: Location) -> None:
    async with hold_output(folder):
        assert is_held(folder)
        with pytest.raises(OutputBusy, match="another run holds this output"):
            async with hold_output(folder):
                pass

    assert not is_held(folder)
    async with hold_output(folder):
        pass


async def test_one_of_several_runs_gets_an_output_there(folder: Location) -> None:
    async with asyncio.TaskGroup() as tasks:
        taking = [
            tasks.create_task(lease(folder, replace(OTHER, pid=number)).try_acquire())
            for number in range(6)
        ]

    assert sum(task.result() for task in taking) == 1


async def test_the_lease_of_a_process_that_has_ended_is_free_at_once(folder: Location) -> None:
    assert await lease(folder, replace(this_process(), started=1)).try_acquire()
    assert not is_held(folder)

    async with hold_output(folder):
        assert is_held(folder)
    assert not is_held(folder)


async def test_the_lease_of_another_machine_is_held_until_it_is_old(folder: Location) -> None:
    assert not is_held(folder)
    assert await lease(folder, OTHER).try_acquire()

    assert is_held(folder)
    assert not is_held(folder, times=LeaseTimes(expire_s=-1.0))


@pytest.mark.parametrize("name", ["_lock", "_locks/1-of-3", "_locks/opening"])
async def test_how_long_a_lease_lasts_is_the_same_for_every_lock_of_an_output(
    name: str, folder: Location
) -> None:
    place = ConditionalObject(folder.child(*name.split("/")), Timeouts())
    assert await Lease(place, OTHER).try_acquire()

    def lock(times: LeaseTimes) -> Lock:
        if name == "_locks/opening":
            return opening_lock(folder, times)
        return OutputLock(folder, None if name == "_lock" else Shard(1, 3), times)

    assert not await lock(LeaseTimes()).try_acquire()
    assert await lock(LeaseTimes(expire_s=-60.0)).try_acquire()


async def test_a_probe_of_another_shards_lease_is_no_rival(folder: Location) -> None:
    folder.child("_locks", "1-of-3.probe-0123abcd").publish(b"clock probe")

    assert await held_meanwhile(folder, Shard(1, 2)) == ""


async def test_a_rival_there_is_in_the_way_until_its_lease_is_old(folder: Location) -> None:
    rival = ConditionalObject(folder.child("_locks", "1-of-3"), Timeouts())
    assert await Lease(rival, OTHER).try_acquire()
    eager = OutputLock(folder, None, LeaseTimes(expire_s=-60.0))
    patient = OutputLock(folder, None, LeaseTimes())

    assert not await patient.try_acquire()
    holder = await patient.holder()
    assert holder is not None
    assert holder.host == OTHER.host
    assert await eager.try_acquire()


async def test_an_expired_lease_is_taken_over_and_its_owner_notices(folder: Location) -> None:
    asleep = lease(folder, OTHER)
    assert await asleep.try_acquire()
    eager = lease(folder, this_process(), times=LeaseTimes(expire_s=-60.0, renew_s=1e9))

    assert await eager.try_acquire()

    await asleep.keep()  # returns: it is lost
    assert await eager.holder() != OTHER
