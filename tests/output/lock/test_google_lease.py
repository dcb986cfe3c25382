"""The lease on Google Cloud Storage, where the version of an object is its generation."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.google_store import BUCKET, GoogleStore, google_store
from support.real_runs import Service, groups, rerank_here, results

from pipeline.core.errors import OutputBusy
from pipeline.output.lock.lease import Lease, LeaseTimes
from pipeline.output.lock.lock import hold_output
from pipeline.output.lock.output_lock import is_held
from pipeline.output.lock.owner_process import Owner, this_process
from pipeline.storage.conditional import ConditionalObject
from pipeline.storage.location import Location, locate
from pipeline.storage.object_stores import Timeouts

OTHER = Owner(host="other", pid=1, since="then")


@pytest.fixture
def server() -> Iterator[GoogleStore]:
    with google_store() as running:
        yield running


@pytest.fixture
def folder(server: GoogleStore) -> Location:
    return locate(f"gs://{BUCKET}/out")


def lease(folder: Location, owner: Owner, pauses: int = 0, **times: float) -> Lease:
    """Make a lease that renews at once, and sleeps for ever after so many renewals."""
    left = [pauses]

    async def sleep(_: float) -> None:
        left[0] -= 1
        await (asyncio.Event().wait() if left[0] < 0 else asyncio.sleep(0))

    place = ConditionalObject(folder.child("_lock"), Timeouts())
    return Lease(place, owner, sleep=sleep, times=LeaseTimes(**times))


async def test_an_owner_renews_its_lease_by_the_generation_it_wrote(
    folder: Location, server: GoogleStore
) -> None:
    mine = lease(folder, OTHER, pauses=5)
    assert await mine.try_acquire()
    before = server.objects["out/_lock"].generation

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):
            await mine.keep()

    assert server.objects["out/_lock"].generation == before + 5


async def test_one_of_several_runs_gets_an_output(folder: Location) -> None:
    async with asyncio.TaskGroup() as tasks:
        taking = [
            tasks.create_task(lease(folder, replace(OTHER, pid=number)).try_acquire())
            for number in range(6)
        ]

    assert sum(task.result() for task in taking) == 1


async def test_the_lease_of_a_dead_run_is_taken_over_and_its_owner_notices(
    folder: Location,
) -> None:
    asleep = lease(folder, OTHER, pauses=1)
    assert await asleep.try_acquire()
    assert not await lease(folder, this_process()).try_acquire()

    assert await lease(folder, this_process(), expire_s=-60.0).try_acquire()

    await asleep.keep()  # returns: it is lost


async def test_an_output_is_held_and_given_up(folder: Location) -> None:
    async with hold_output(folder):
        assert is_held(folder)
        with pytest.raises(OutputBusy, match="another run holds this output"):
            async with hold_output(folder):
                pass

    async with hold_output(folder):
        pass


def test_a_run_writes_the_same_bytes_there_as_on_disk(
    server: GoogleStore, tmp_path: Path, quick_service: Service
) -> None:
    given, local = groups([3, 2, 4], tmp_path / "in.parquet"), tmp_path / "out"
    server.put("in/in.parquet", given.read_bytes(), None)
    options = (*quick_service.options, "--groups-per-part", 2)
    assert rerank_here("run", given, local, *options).code == 0

    there = f"gs://{BUCKET}/out"
    assert rerank_here("run", f"gs://{BUCKET}/in/in.parquet", there, *options).code == 0

    found = {
        key.removeprefix("out/"): stored.content
        for key, stored in server.objects.items()
        if key.startswith("out/") and key.endswith(".parquet")
    }
    assert found == results(local)
    assert "out/_SUCCESS" in server.objects
    again = rerank_here("run", f"gs://{BUCKET}/in/in.parquet", there, *options, "--json")
    assert (again.code, again.facts["requests"]) == (0, 0)
