"""Store, lock and manifest on an S3 server of this machine (moto)."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs
from support.score_stores import DAY, NOW, answer, keys, look_up, request, right, save, store

from pipeline.core.errors import OutputBusy, OutputFailed
from pipeline.output.lock import lease
from pipeline.output.lock.lease import Lease, LeaseObject
from pipeline.output.lock.lease_store import ConditionalObject, PlainObject, lease_object
from pipeline.output.lock.lock import OutputLock
from pipeline.output.manifest import check_or_create, read_manifest
from pipeline.score_store import group_commit
from pipeline.score_store import segment_writer as live_segment
from pipeline.score_store.maintenance import info, prune
from pipeline.score_store.store import ScoreStore
from pipeline.storage.location import Location, locate


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def folder(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Location:
    for name, value in (
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    buckets = fs.S3FileSystem(
        endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True
    )
    buckets.create_dir("bucket")
    return locate(f"s3://bucket/{abs(hash(request.node.name))}/out")


async def test_answers_are_found_by_a_later_run(folder: Location) -> None:
    assert await look_up(folder, [1]) == {}

    await save(folder, range(5))
    await save(folder, range(4, 8))

    assert right(await look_up(folder, range(9)), range(8))


async def test_what_a_run_has_written_outlives_it_before_its_segment_is_closed(
    folder: Location,
) -> None:
    async with store(folder) as killed:
        for number in range(3):
            await killed.save(request(number), answer(number))
            await killed.flush()

        assert right(await killed.look_up(keys(range(3))), range(3))
        assert right(await look_up(folder, range(4)), range(3))
        assert info(folder).segments == 1


async def test_a_full_segment_is_closed_and_the_next_begun(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_segment, "REMOTE_FULL_BYTES", 4_000)

    await save(folder, range(20))

    assert info(folder).segments > 3
    assert right(await look_up(folder, range(20)), range(20))


async def test_compaction_folds_and_pruning_drops(folder: Location) -> None:
    for number in range(4):
        await save(folder, [number])
    async with store(folder, NOW + 20 * DAY) as opened:
        await opened.look_up(keys([2]))
        assert await opened.compact() == 4
        assert right(await opened.look_up(keys([2])), [2])

    assert info(folder).segments == 1
    assert prune(folder, 10, clock=lambda: NOW + 25 * DAY) == 3
    assert right(await look_up(folder, range(4)), [2])


async def test_another_runs_compaction_is_noticed(folder: Location) -> None:
    await save(folder, [1])
    await save(folder, [2])
    async with store(folder) as opened:
        async with store(folder) as other:
            await other.compact()

        assert right(await opened.look_up(keys([1, 2])), [1, 2])


def test_an_answer_waits_a_second_at_most_before_it_is_sent() -> None:
    assert group_commit.REMOTE_LINGER_S <= 1.0


async def test_a_bucket_that_is_not_there_is_told_in_one_line(folder: Location) -> None:
    with pytest.raises(OutputFailed) as failure:
        async with ScoreStore(locate("s3://no-such-bucket/store"), linger_s=0.0) as opened:
            await opened.save(request(1), answer(1))

    assert "\n" not in str(failure.value)
    assert str(failure.value).startswith("s3://no-such-bucket/store")


def test_a_manifest_is_kept_and_a_restart_removes_the_parts(folder: Location) -> None:
    check_or_create(folder, {"model": "one"}, [])
    folder.child("part-00000.parquet").publish(b"x")
    folder.child("_groups", "part-00000.parquet").publish(b"x")

    manifest = check_or_create(folder, {"model": "two"}, [], restart=True)

    assert read_manifest(folder) == manifest
    assert {child.base_name for child in folder.children()} == {"_manifest.json"}


# --- The lease ----------------------------------------------------------------------------------


async def no_pause(_: float) -> None:
    await asyncio.sleep(0)


@pytest.fixture(params=["conditional", "plain"])
def place(folder: Location, request: pytest.FixtureRequest) -> LeaseObject:
    lock = folder.child("_lock")
    return (
        ConditionalObject(lock)
        if request.param == "conditional"
        else PlainObject(lock, sleep=no_pause)
    )


async def test_an_object_is_replaced_only_in_the_expected_version(place: LeaseObject) -> None:
    assert await place.read() is None
    first = await place.write(b"1", None)
    assert first is not None
    assert await place.write(b"2", None) is None
    second = await place.write(b"2", first)
    assert second is not None
    assert await place.write(b"3", first) is None

    there = await place.read()
    assert there is not None
    assert (there.content, there.version) == (b"2", second)
    assert abs(await place.now() - there.modified) < timedelta(seconds=30)


async def test_a_version_of_a_removed_object_cannot_be_replaced(
    place: LeaseObject, folder: Location
) -> None:
    version = await place.write(b"1", None)
    folder.child("_lock").remove()

    assert await place.write(b"2", version) is None


async def test_one_of_several_runs_gets_the_output(folder: Location) -> None:
    leases = [Lease(lease_object(folder.child("_lock")), {"pid": n}) for n in range(6)]

    taken = await asyncio.gather(*(one.take() for one in leases))

    assert sum(taken) == 1


async def test_the_output_is_held_and_given_free(folder: Location) -> None:
    async with OutputLock(folder):
        with pytest.raises(OutputBusy, match="another run holds this output"):
            async with OutputLock(folder):
                pass

    async with OutputLock(folder):
        pass


async def test_an_expired_lease_is_taken_over_and_its_owner_notices(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep = Lease(lease_object(folder.child("_lock")), {"pid": 1}, sleep=no_pause)
    assert await asleep.take()
    monkeypatch.setattr(lease, "EXPIRE_S", -60.0)

    async with OutputLock(folder):
        await asleep.keep()
