"""The score store on an S3 server of this machine (moto)."""

from collections.abc import Iterator

import pytest
from support.object_store import Store, moto_store
from support.score_stores import DAY, NOW, answer, keys, look_up, request, right, save, store

from pipeline.core.errors import SettingsError
from pipeline.score_store import group_commit
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.maintenance import info, prune
from pipeline.score_store.replaced import delete_replaced
from pipeline.score_store.store import ScoreStore
from pipeline.storage.location import Location, locate


@pytest.fixture(scope="module")
def bucket() -> Iterator[Store]:
    with moto_store() as running:
        yield running


@pytest.fixture
def folder(bucket: Store, request: pytest.FixtureRequest) -> Location:
    return bucket.at(f"{abs(hash(request.node.name))}/store")


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


async def test_a_full_segment_is_closed_and_the_next_begun(folder: Location) -> None:
    await save(folder, range(20), limits=StoreLimits(remote_full_bytes=4_000))

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
    assert prune(folder, 10, clock=lambda: NOW + 25 * DAY).removed == 3
    assert right(await look_up(folder, range(4)), [2])


async def test_a_run_goes_on_when_what_it_listed_was_replaced_and_deleted(
    folder: Location,
) -> None:
    await save(folder, [1])
    await save(folder, [2])
    async with store(folder) as opened:
        async with store(folder) as other:
            await other.compact()
        listed = len(folder.children())
        assert right(await opened.look_up(keys([1])), [1])

        delete_replaced(folder, NOW, older_than_s=0)
        assert len(folder.children()) == listed - 3
        assert right(await opened.look_up(keys([1, 2])), [1, 2])


async def test_what_was_replaced_is_deleted_once_it_is_old_by_the_stores_clock(
    folder: Location,
) -> None:
    for number in range(3):
        await save(folder, [number])
    async with store(folder, NOW + 40_000 * DAY) as jumped:
        await jumped.compact()
        await jumped.compact()
    kept = [child.base_name for child in folder.children()]

    assert sum(name.startswith("segment-") for name in kept) == 4
    delete_replaced(folder, NOW + 40_000 * DAY, older_than_s=0.0)
    assert info(folder).segments == len(folder.children()) == 1


def test_an_answer_waits_a_second_at_most_before_it_is_sent() -> None:
    assert group_commit.REMOTE_LINGER_S <= 1.0


async def test_a_bucket_that_is_not_there_is_told_in_one_line(folder: Location) -> None:
    with pytest.raises(SettingsError) as failure:
        async with ScoreStore(locate("s3://no-such-bucket/store")):
            pass

    assert "\n" not in str(failure.value)
    told = "s3://no-such-bucket/store: the score store cannot be written: no such object, bucket"
    assert str(failure.value).startswith(told)


async def test_an_unclosed_segment_there_is_old_by_the_stores_clock_alone(folder: Location) -> None:
    async with store(folder) as living:
        await living.save(request(1), answer(1))
        await living.flush()
        async with store(folder, NOW + 40_000 * DAY) as jumped:
            assert await jumped.compact() == 0
        assert info(folder).segments == 1

    assert right(await look_up(folder, [1]), [1])
    assert not [child for child in folder.children() if "probe" in child.base_name]
