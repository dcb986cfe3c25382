"""Groups read and planned: the same whatever is done in a thread, and the event loop goes on."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.group_world import COUNTER, make_settings
from support.tables import candidates, facts, groups_of, write

from pipeline.core.errors import InputError
from pipeline.dataset import reader as group_reader
from pipeline.dataset.reader import GroupReader, PlannedGroup
from pipeline.output.part_borders import PartBorders
from pipeline.planning.planner import Planner
from pipeline.source.listing import list_input
from pipeline.source.pieces import BatchLimits
from pipeline.source.source import Source

GROUPS_PER_PART = 5


def source_of(path: Path, sizes: Sequence[int], *, rows: int, **how: Any) -> Source:
    # Texts come twice in some groups, which are not plain.
    texts = [f"text {place % 4}" for place in range(sum(sizes))]
    given = write(candidates(sizes, text=texts), path / "in.parquet")
    return Source(list_input(str(given)), limits=BatchLimits(max_rows=rows), **how)


async def steps_of(source: Source) -> list[PlannedGroup]:
    planner = Planner(make_settings(), COUNTER)
    reader = GroupReader(source.read(), planner, PartBorders(GROUPS_PER_PART, ()))
    async with aclosing(reader.iter_planned()) as batches:
        return [step async for steps in batches for step in steps]


def told(step: PlannedGroup) -> tuple[object, ...]:
    plan, place = step.plan, (step.size_bytes, step.part_index, step.ends_part)
    return (plan.group.output.index, plan.group.output.first_row, plan.keys(), *place)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=14),
    rows=st.sampled_from([1, 3, 7, 50]),
    groups_at_once=st.integers(1, 9),
    many_rows=st.integers(0, 30),
)
def test_steps_do_not_depend_on_what_is_done_at_once_and_what_in_a_thread(
    tmp_path_factory, sizes, rows, groups_at_once, many_rows
):
    folder = tmp_path_factory.mktemp("steps")
    expected = asyncio.run(steps_of(source_of(folder, sizes, rows=1_000)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group_reader, "GROUPS_AT_ONCE", groups_at_once)
        patch.setattr(group_reader, "MANY_CANDIDATES", many_rows)
        found = asyncio.run(steps_of(source_of(folder, sizes, rows=rows)))

    assert [told(step) for step in found] == [told(step) for step in expected]
    assert [step.plan.group.num_candidates for step in found] == sizes


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=14),
    max_groups=st.integers(1, 15),
    duplicates=st.sampled_from(["keep", "first"]),
)
@settings(deadline=None, max_examples=60)
def test_a_batch_that_is_cut_holds_the_same_groups(tmp_path_factory, sizes, max_groups, duplicates):
    folder = tmp_path_factory.mktemp("cut")
    source = source_of(folder, sizes, rows=1_000, duplicates=duplicates, with_text=True)
    batches = list(source.iter_batches())

    cut = [part for batch in batches for part in batch.cut(max_groups)]

    assert [facts(group) for group in groups_of(cut)] == [facts(g) for g in groups_of(batches)]
    assert max(part.num_groups for part in cut) <= max_groups


@pytest.mark.parametrize("large", [False, True])
async def test_only_what_takes_long_is_planned_in_a_thread(tmp_path, monkeypatch, large):
    where = set()
    plan = group_reader.plan_batch

    def noted(*arguments):
        where.add(threading.current_thread() is threading.main_thread())
        return plan(*arguments)

    monkeypatch.setattr(group_reader, "plan_batch", noted)
    if large:
        monkeypatch.setattr(group_reader, "MANY_CANDIDATES", 2)

    assert len(await steps_of(source_of(tmp_path, [3] * 9, rows=7))) == 9
    assert where == {not large}


async def test_what_has_arrived_has_its_turn_between_two_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(group_reader, "GROUPS_AT_ONCE", 2)
    planner = Planner(make_settings(), COUNTER)
    source = source_of(tmp_path, [1] * 60, rows=1_000)
    reader = GroupReader(source.read(), planner, PartBorders(GROUPS_PER_PART, ()))
    turns, turns_at = 0, []

    async def take_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    async with aclosing(reader.iter_planned()) as batches:
        async for _ in batches:
            turns_at.append(turns)
    other.cancel()

    assert len(turns_at) == 31  # 59 groups two by two, and the one that ends with the input
    assert len(set(turns_at)) == len(turns_at)


async def test_a_fault_in_the_input_is_told_and_no_thread_is_left(tmp_path):
    table = candidates([2, 2], query_id=["a", "b", "a", "b"])
    source = Source(list_input(str(write(table, tmp_path / "in.parquet"))))

    with pytest.raises(InputError, match="not adjacent"):
        await steps_of(source)


async def test_the_beginning_is_read_while_the_whole_input_is_checked(tmp_path):
    source, read = source_of(tmp_path, [2] * 3, rows=3), asyncio.Event()
    reading, loop = source.read(), asyncio.get_running_loop()
    next_piece = reading.next_piece

    def told_piece():
        piece = next_piece()
        loop.call_soon_threadsafe(read.set)
        return piece

    reading.next_piece = told_piece
    planner, borders = Planner(make_settings(), COUNTER), PartBorders(GROUPS_PER_PART, ())
    reader = GroupReader(reading, planner, borders, check=read.wait)

    async with aclosing(reader.iter_planned()) as batches, asyncio.timeout(30):
        assert len([step async for steps in batches for step in steps]) == 3


@pytest.mark.parametrize("num_groups", [0, 3])
async def test_no_group_is_given_out_where_the_check_finds_a_fault(tmp_path, num_groups):
    async def check():
        raise InputError("a fault", which="in.parquet")

    planner, borders = Planner(make_settings(), COUNTER), PartBorders(GROUPS_PER_PART, ())
    source = source_of(tmp_path, [2] * num_groups, rows=3)
    reader = GroupReader(source.read(), planner, borders, check=check)

    async with aclosing(reader.iter_planned()) as batches:
        with pytest.raises(InputError, match="a fault"):
            await anext(batches)


async def test_a_check_that_goes_on_ends_with_the_reading(tmp_path):
    begun, ended = asyncio.Event(), asyncio.Event()

    async def check():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    planner, borders = Planner(make_settings(), COUNTER), PartBorders(GROUPS_PER_PART, ())
    source = source_of(tmp_path, [2] * 3, rows=3)
    reader = GroupReader(source.read(), planner, borders, check=check)
    reading = asyncio.create_task(anext(reader.iter_planned()))
    await begun.wait()

    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    assert ended.is_set()
