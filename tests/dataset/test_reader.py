"""Groups read and planned: the same whatever is done in a thread, and the event loop goes on."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.group_world import COUNTER, make_settings
from support.tables import candidates, facts, groups_of, write

from pipeline.core.background import background
from pipeline.core.errors import InputError
from pipeline.dataset.limits import RunLimits
from pipeline.dataset.reader import GroupReader, PlannedGroup
from pipeline.output.part_borders import PartBorders
from pipeline.planning.planner import Planner
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.listing import list_input
from pipeline.source.pieces import Piece
from pipeline.source.reading import Reading
from pipeline.source.source import Source

GROUPS_PER_PART = 5


def source_of(path: Path, sizes: Sequence[int], *, rows: int, **how: Any) -> Source:
    # Texts come twice in some groups, which are not plain.
    texts = [f"text {place % 4}" for place in range(sum(sizes))]
    given = write(candidates(sizes, text=texts), path / "in.parquet")
    return Source(list_input(str(given)), limits=BatchLimits(max_rows=rows), **how)


def reader_of(source: Source, limits: RunLimits | None = None, **how: Any) -> GroupReader:
    """Return a reader of the source."""
    planner, borders = Planner(make_settings(), COUNTER), PartBorders(GROUPS_PER_PART, ())
    return GroupReader(source.read(), planner, borders, limits=limits, **how)


async def read_all(reader: GroupReader) -> list[PlannedGroup]:
    """Read all groups."""
    async with aclosing(reader.iter_planned()) as batches:
        return [planned async for batch in batches for planned in batch]


def facts_of(planned: PlannedGroup) -> tuple[object, ...]:
    """Return what a planned group is, as plain values."""
    plan, place = planned.plan, (planned.size_bytes, planned.part_index, planned.ends_part)
    return (plan.group.output.index, plan.group.output.first_row, plan.keys(), *place)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=14),
    rows=st.sampled_from([1, 3, 7, 50]),
    groups_at_once=st.integers(1, 9),
    max_candidates_inline=st.integers(0, 30),
)
def test_groups_do_not_depend_on_what_is_done_at_once_and_what_in_a_thread(
    tmp_path_factory, sizes, rows, groups_at_once, max_candidates_inline
):
    folder = tmp_path_factory.mktemp("groups")
    limits = RunLimits(groups_at_once=groups_at_once, max_candidates_inline=max_candidates_inline)

    expected = asyncio.run(read_all(reader_of(source_of(folder, sizes, rows=1_000))))
    found = asyncio.run(read_all(reader_of(source_of(folder, sizes, rows=rows), limits)))

    assert [facts_of(planned) for planned in found] == [facts_of(planned) for planned in expected]
    assert [planned.plan.group.num_candidates for planned in found] == sizes


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


class NotingPlanner:
    """Plans groups, and notes in which threads."""

    def __init__(self) -> None:
        self.is_main_thread: set[bool] = set()
        self._planner = Planner(make_settings(), COUNTER)

    def __getattr__(self, name: str) -> Any:
        self.is_main_thread.add(threading.current_thread() is threading.main_thread())
        return getattr(self._planner, name)


@pytest.mark.parametrize(
    ("limits", "large"),
    [
        (RunLimits(), False),
        (RunLimits(max_candidates_inline=2), True),
        (RunLimits(max_bytes_inline=2), True),
    ],
)
async def test_only_large_batches_are_planned_in_a_thread(tmp_path, limits, large):
    planner = NotingPlanner()
    source = source_of(tmp_path, [3] * 9, rows=7)
    borders = PartBorders(GROUPS_PER_PART, ())
    reader = GroupReader(source.read(), cast(Planner, planner), borders, limits=limits)

    assert len(await read_all(reader)) == 9
    assert planner.is_main_thread == {not large}


async def test_other_tasks_have_their_turn_between_two_batches(tmp_path):
    source = source_of(tmp_path, [1] * 60, rows=1_000)
    turns, turns_at = 0, []

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with background(take_turns(), name="other"):
        reader = reader_of(source, RunLimits(groups_at_once=2))
        async with aclosing(reader.iter_planned()) as batches:
            async for _ in batches:
                turns_at.append(turns)

    assert len(turns_at) == 31  # 59 groups two by two, and the one that ends with the input
    assert len(set(turns_at)) == len(turns_at)


async def test_an_error_in_the_input_is_raised(tmp_path):
    table = candidates([2, 2], query_id=["a", "b", "a", "b"])
    source = Source(list_input(str(write(table, tmp_path / "in.parquet"))))

    with pytest.raises(InputError, match="not adjacent"):
        await read_all(reader_of(source))


async def test_the_beginning_is_read_while_the_whole_input_is_checked(tmp_path, monkeypatch):
    source, is_read = source_of(tmp_path, [2] * 3, rows=3), asyncio.Event()
    loop, next_piece = asyncio.get_running_loop(), Reading.next_piece

    def noted_piece(reading: Reading) -> Piece | None:
        piece = next_piece(reading)
        loop.call_soon_threadsafe(is_read.set)
        return piece

    monkeypatch.setattr(Reading, "next_piece", noted_piece)

    async with asyncio.timeout(30):
        assert len(await read_all(reader_of(source, check=is_read.wait))) == 3


@pytest.mark.parametrize("num_groups", [0, 3])
async def test_no_group_is_yielded_if_the_check_fails(tmp_path, num_groups):
    async def check() -> None:
        raise InputError("a fault", which="in.parquet")

    reader = reader_of(source_of(tmp_path, [2] * num_groups, rows=3), check=check)

    async with aclosing(reader.iter_planned()) as batches:
        with pytest.raises(InputError, match="a fault"):
            await anext(batches)


async def test_an_error_of_the_first_rows_comes_before_one_of_the_check(tmp_path):
    async def check() -> None:
        raise InputError("found by the check")

    rank = pa.array([1, None], pa.int32())
    table = candidates([2], first_stage_rank=rank)
    path = write(table, tmp_path / "in.parquet", write_statistics=False)
    source = Source(list_input(str(path)))

    with pytest.raises(InputError, match="first_stage_rank"):
        await read_all(reader_of(source, check=check))


async def test_a_check_that_goes_on_ends_with_the_reading(tmp_path):
    begun, ended = asyncio.Event(), asyncio.Event()

    async def check() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    reader = reader_of(source_of(tmp_path, [2] * 3, rows=3), check=check)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(anext(reader.iter_planned()))
        await begun.wait()
        reading.cancel()

    assert reading.cancelled()
    assert ended.is_set()
