"""Parts are whole when all their groups are ranked, and few of them are open."""

import asyncio

import pytest
from msgspec.structs import replace
from support.group_world import make_group
from support.tables import rank_by

from pipeline.core.records import Ranking
from pipeline.dataset.parts import OpenPart, PartAssembly


def ranking(index: int) -> Ranking:
    ranking = rank_by(make_group(["text"]), [0.5])
    return replace(ranking, group=replace(ranking.group, index=index))


def test_a_part_is_whole_when_all_of_its_groups_are_read_and_ranked():
    part = OpenPart(0)
    part.num_started = 2
    part.ranked[7] = ranking(7)
    assert not part.is_whole
    part.ranked[6] = ranking(6)
    assert not part.is_whole
    part.is_read = True

    assert part.is_whole
    assert [one.group.index for one in part.iter_in_order()] == [6, 7]


async def test_another_part_is_opened_only_while_few_candidates_wait():
    assembly = PartAssembly(max_candidates=10)
    first, second = await assembly.open(0), await assembly.open(1)
    first.num_candidates, second.num_candidates = 4, 6

    third = asyncio.create_task(assembly.open(2))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not third.done()
    assembly.close(1)

    assert (await third).index == 2


@pytest.mark.parametrize(
    ("of_part", "is_large"),
    [
        ({"num_started": 1_000, "num_candidates": 100_000, "passthrough_bytes": 1 << 20}, False),
        ({"num_started": 10, "num_candidates": 1_000_000}, True),
        ({"num_started": 100_000, "num_candidates": 100_000}, True),
        ({"num_started": 1_000, "num_candidates": 100_000, "passthrough_bytes": 64 << 20}, True),
    ],
)
def test_a_part_of_many_candidates_groups_or_bytes_is_large(of_part, is_large):
    assert OpenPart(0, **of_part).is_large is is_large
