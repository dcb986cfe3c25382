"""The parts of shards: every part has one owner, and neighbours stay together."""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.shard import Shard
from pipeline.output.shard_plan import (
    PlannedPart,
    ShardPlan,
    read_shard_plan,
    write_shard_plan,
)
from pipeline.storage.location import locate


def plan_of(sizes: list[tuple[int, int]], count: int = 1) -> ShardPlan:
    groups = [0, *accumulate(size[0] for size in sizes)]
    rows = [0, *accumulate(size[1] for size in sizes)]
    parts = [
        PlannedPart(groups[number], size[0], rows[number], size[1])
        for number, size in enumerate(sizes)
    ]
    return ShardPlan(fingerprint="f", count=count, parts=parts)


SIZES = st.lists(st.tuples(st.integers(1, 1_000), st.integers(1, 500_000)), max_size=60)


@given(sizes=SIZES, count=st.integers(1, 20))
def test_the_shards_of_a_count_have_every_part_once_and_in_order(sizes, count) -> None:
    plan = plan_of(sizes)

    ranges = [plan.range_of(Shard(index, count)) for index in range(1, count + 1)]

    assert [part for one in ranges for part in one] == list(range(len(sizes)))
    for index, one in enumerate(ranges, start=1):
        assert all(plan.owner(part, count) == Shard(index, count) for part in one)


@given(sizes=st.lists(st.just((10, 100)), min_size=1, max_size=80), count=st.integers(1, 8))
def test_shards_of_equal_parts_differ_by_one_part_at_most(sizes, count) -> None:
    plan = plan_of(sizes)

    lengths = [len(plan.range_of(Shard(index, count))) for index in range(1, count + 1)]

    assert max(lengths) - min(lengths) <= 1


def test_a_part_of_other_rows_is_missing() -> None:
    plan = plan_of([(2, 20), (3, 30), (1, 5)])
    written = plan.infos([0, 1, 2])

    assert plan.missing(written) == []
    assert plan.missing(written[:1]) == [1, 2]
    assert plan_of([(2, 20), (3, 31), (1, 4)]).missing(written) == [1, 2]


def test_a_plan_comes_back_unless_it_is_of_another_fingerprint_or_damaged(tmp_path) -> None:
    output, plan = locate(str(tmp_path)), plan_of([(2, 20)], count=3)

    assert read_shard_plan(output, "f") is None
    write_shard_plan(output, plan)
    assert read_shard_plan(output, "f") == plan
    assert read_shard_plan(output, "g") is None
    (tmp_path / "_shards.json").write_bytes(b"{")
    assert read_shard_plan(output, "f") is None


def test_planned_parts_are_described_as_those_of_another_run() -> None:
    (info,) = plan_of([(2, 20), (3, 30)]).infos([1])

    assert (info.index, info.fingerprint) == (1, "f")
    assert (info.first_group, info.num_groups, info.first_row, info.num_rows) == (2, 3, 20, 30)


def test_parts_without_rows_are_those_of_the_first_shard() -> None:
    assert plan_of([(0, 0)]).owner(0, 3) == Shard(1, 3)
