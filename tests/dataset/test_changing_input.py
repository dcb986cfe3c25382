"""An input that changes while a run reads it ends the run, and no output is marked as done."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fake_reranker import FakeReranker, Reply, served
from support.group_world import make_settings
from support.real_runs import groups, ranked, results

from pipeline.core.errors import InputError, OutputMismatch, ServiceRefused
from pipeline.core.settings import Pace
from pipeline.dataset.limits import RunLimits
from pipeline.dataset.rerank import rerank_dataset
from pipeline.dataset.session import Session
from pipeline.source.batch_reader import BatchLimits

SIZES = [3] * 60
FEW_AT_ONCE = RunLimits(batch=BatchLimits(max_rows=9))
CHANGED = r"b\.parquet: changed while it was read"


class World:
    """An input of two files, and runs that rerank it."""

    def __init__(self, folder: Path) -> None:
        self.input = folder / "in"
        self.output = folder / "out"
        self.other_output = folder / "other"
        groups(SIZES, self.input / "a.parquet")
        self.write("first")

    @property
    def file(self) -> Path:
        """The file that changes."""
        return self.input / "b.parquet"

    def write(self, word: str) -> None:
        """Replace the file by one with the same rows and other texts."""
        texts: dict[tuple[int, int], str | None] = {
            (group, place): f"{word} {group} {place}"
            for group in range(len(SIZES), 2 * len(SIZES))
            for place in range(3)
        }
        sizes = [0] * len(SIZES) + SIZES
        groups(sizes, self.file.with_name("new"), texts=texts).replace(self.file)

    async def rerank(self, *script: Any, output: Path | None = None, **how: Any) -> int:
        """Run over the input; return how many requests were sent."""
        async with FakeReranker(*script) as fake:
            settings = make_settings(
                url=fake.url, groups_per_part=10, pace=Pace(max_in_flight=2), **how
            )
            async with Session(settings, "key", limits=FEW_AT_ONCE) as session:
                await rerank_dataset(session, str(self.input), str(output or self.output))
            return len(fake.calls)

    def is_done(self) -> bool:
        return (self.output / "_SUCCESS").exists()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def then(change: Callable[[], object]) -> Callable[[dict[str, Any]], Reply]:
    """Return an answer before which something happens."""

    def answer(body: dict[str, Any]) -> Reply:
        change()
        return Reply(200, served(body))

    return answer


@pytest.mark.parametrize("requests_before", [0, 55, 70, 115])
async def test_a_file_that_is_replaced_ends_the_run(world: World, requests_before: int) -> None:
    change = then(lambda: world.write("other"))

    with pytest.raises(InputError, match=CHANGED):
        await world.rerank(*[200] * requests_before, change)

    assert not world.is_done()
    with pytest.raises(OutputMismatch, match=r"input file b\.parquet: .*; --restart begins anew"):
        await world.rerank()
    await world.rerank(restart=True)
    await world.rerank(output=world.other_output)
    assert world.is_done()
    assert results(world.output) == results(world.other_output)


async def test_a_file_that_vanishes_ends_the_run_and_once_it_is_back_the_run_continues(
    world: World,
) -> None:
    kept = world.file.with_name("kept")

    with pytest.raises(InputError, match=r"b\.parquet: no such file"):
        await world.rerank(*[200] * 115, then(lambda: world.file.rename(kept)))

    assert not world.is_done()
    kept.rename(world.file)
    assert await world.rerank() <= 5
    assert world.is_done()


async def test_a_file_that_changes_while_its_run_is_continued_ends_it(world: World) -> None:
    with pytest.raises(ServiceRefused):
        await world.rerank(*[200] * 100, 401, 401, 401, 401)
    finished = results(world.output)
    assert finished

    with pytest.raises(InputError, match=CHANGED):
        await world.rerank(then(lambda: os.utime(world.file, (1, 1))))

    assert not world.is_done()
    assert results(world.output).items() >= finished.items()


async def test_a_finished_output_of_a_file_written_anew_is_refused_by_name(world: World) -> None:
    await world.rerank()
    size_bytes = world.file.stat().st_size

    world.write("FIRST")

    assert world.file.stat().st_size == size_bytes
    with pytest.raises(OutputMismatch, match=r"file b\.parquet: same size and rows, but written"):
        await world.rerank()


async def test_a_copy_of_the_input_is_the_same_input(world: World) -> None:
    await world.rerank()
    content = world.file.read_bytes()
    world.file.unlink()
    world.file.write_bytes(content)

    assert await world.rerank() == 0


async def test_a_file_that_is_added_meanwhile_belongs_to_the_next_run(
    world: World, tmp_path: Path
) -> None:
    added = world.input / "c.parquet"

    await world.rerank(then(lambda: groups([1], added)))

    assert world.is_done()
    assert len(ranked(world.output)) == 2 * sum(SIZES)
    with pytest.raises(OutputMismatch, match=r"input file c\.parquet: new"):
        await world.rerank()
