"""An object that is replaced only in the version that was last seen."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from support.object_store import Store, moto_store

from pipeline.core.errors import OutputFailed
from pipeline.storage.conditional import ConditionalObject
from pipeline.storage.location import Location, locate
from pipeline.storage.object_stores import Timeouts


@pytest.fixture(scope="module")
def bucket() -> Iterator[Store]:
    with moto_store() as running:
        yield running


@pytest.fixture
def place(bucket: Store, request: pytest.FixtureRequest) -> Location:
    return bucket.at(f"{abs(hash(request.node.name))}/object")


def object_at(place: Location) -> ConditionalObject:
    return ConditionalObject(place, Timeouts())


async def test_it_is_replaced_only_in_the_expected_version(place: Location) -> None:
    stored = object_at(place)
    assert await stored.read() is None
    first = await stored.write(b"1", None)
    assert first is not None
    assert await stored.write(b"2", None) is None
    second = await stored.write(b"2", first)
    assert second is not None
    assert await stored.write(b"3", first) is None

    found = await stored.read()

    assert found is not None
    assert (found.content, found.version) == (b"2", second)
    assert abs(await stored.now() - found.modified) < timedelta(seconds=30)


async def test_a_version_of_a_removed_object_cannot_be_replaced(place: Location) -> None:
    version = await object_at(place).write(b"1", None)
    place.remove()

    assert await object_at(place).write(b"2", version) is None


async def test_one_of_many_writers_creates_it(place: Location) -> None:
    async with asyncio.TaskGroup() as tasks:
        writing = [
            tasks.create_task(object_at(place).write(b"%d" % number, None)) for number in range(8)
        ]

    assert sum(task.result() is not None for task in writing) == 1


async def test_the_clock_leaves_no_object_behind(place: Location) -> None:
    await object_at(place).now()

    assert not place.exists()
    assert place.beside("x").children() == []


async def test_a_bucket_that_does_not_exist_is_told_in_one_line(bucket: Store) -> None:
    stored = object_at(locate("s3://no-such-bucket/object"))

    assert await stored.read() is None
    with pytest.raises(OutputFailed, match="cannot be written: no such object, bucket"):
        await stored.write(b"1", None)
