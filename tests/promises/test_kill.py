"""A run that is killed at any moment and repeated gives the same bytes and pays little twice.

Real processes and a real `kill -9`; the service counts what was paid for.
"""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support.real_runs import (
    Service,
    groups,
    killed,
    rerank,
    rerank_here,
    results,
    service,
    start,
    wait_until,
)

from pipeline.core.content import digest
from pipeline.core.records import Request, Scores
from pipeline.score_store.maintenance import info
from pipeline.score_store.store import ScoreStore
from pipeline.storage.location import locate

IN_FLIGHT = 32
UNSAVED_S = 0.05
"""How long an answer may take from its arrival to the store's file."""
NUM_KILLS = 25
SIZES = [9 if group % 5 == 0 else 3 for group in range(160)]
"""Every fifth group takes several requests of at most 5 documents, and a final one."""


@dataclass(frozen=True)
class World:
    """Candidates, a service, and the result of an uninterrupted run."""

    given: Path
    service: Service
    expected: dict[str, bytes]
    num_requests: int

    def options(self, output: Path, *more: object) -> tuple[object, ...]:
        pace = ("--max-in-flight", IN_FLIGHT, "--requests-per-minute", 1_000_000)
        cut = ("--max-documents", 5, "--groups-per-part", 25, "--certify-depth", 4)
        return (
            *("run", self.given, output, *self.service.options, *pace, *cut, "--no-progress"),
            *more,
        )

    def start(self, output: Path, *more: object) -> "subprocess.Popen[str]":
        return start(*self.options(output, *more))

    def kill_after(self, num_answers: int, output: Path) -> int:
        """Run and kill after `num_answers`; return how many answers may have been lost."""
        before = self.service.answers()
        seen = [(time.monotonic(), 0)]
        process = self.start(output)

        def is_enough() -> bool:
            seen.append((time.monotonic(), self.service.answers() - before))
            return seen[-1][1] >= num_answers or process.poll() is not None

        wait_until(is_enough, poll_s=0.01)
        killed(process)
        killed_at, answered = seen[-1]
        # Answers that came this long before the kill had time enough to be saved.
        saved = max(count for at, count in seen if at <= killed_at - UNSAVED_S or not count)
        # Between the last poll and the kill as many may have come as between two polls.
        unseen = max(later - count for (_, count), (_, later) in pairwise(seen))
        return IN_FLIGHT + answered - saved + unseen


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    given = groups(SIZES, folder / "in.parquet", texts={(7, 1): None, (80, 0): " "})
    with service("--latency-ms", 20, "--score-distortion", "affine") as running:
        bare = World(given, running, {}, 0)
        ended = rerank(*bare.options(folder / "whole", "--json"))
        assert ended.code == 0, ended.err
        assert ended.facts["merge_status"].keys() > {"single_request"}
        yield World(given, running, results(folder / "whole"), running.requests())


def test_a_run_killed_after_k_answers_gives_the_same_bytes_and_pays_little_twice(
    world: World, tmp_path: Path
) -> None:
    """The numbers k are spread over the whole run."""
    again, allowed = [], []
    for kill in range(NUM_KILLS):
        output = tmp_path / f"out-{kill}"
        before = world.service.requests()

        allowed.append(world.kill_after(1 + kill * (world.num_requests - 10) // NUM_KILLS, output))
        ended = rerank_here(*world.options(output))

        assert ended.code == 0, ended.err
        assert results(output) == world.expected, f"kill {kill}"
        assert (output / "_SUCCESS").exists()
        again.append(world.service.requests() - before - world.num_requests)
    assert all(paid <= by_right for paid, by_right in zip(again, allowed, strict=True)), (
        again,
        allowed,
    )


def test_a_run_killed_twice_gives_the_same_bytes(world: World, tmp_path: Path) -> None:
    output = tmp_path / "out"
    before = world.service.requests()

    allowed = world.kill_after(world.num_requests // 3, output)
    allowed += world.kill_after(world.num_requests // 3, output)
    ended = rerank(*world.options(output))

    assert ended.code == 0, ended.err
    assert results(output) == world.expected
    assert world.service.requests() - before - world.num_requests <= allowed


@pytest.mark.parametrize("name", ["_lock", "_manifest.json", "_runs", "_scores"])
def test_a_run_killed_at_its_start_gives_the_same_bytes(
    name: str, world: World, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = world.start(output)
    wait_until((output / name).exists, poll_s=0.001)
    killed(process)

    assert rerank_here(*world.options(output)).code == 0
    assert results(output) == world.expected


def test_a_run_killed_before_the_last_step_sends_nothing_more(world: World, tmp_path: Path) -> None:
    """The kill must hit the milliseconds between the last part and `_SUCCESS`."""
    for attempt in range(20):
        output = tmp_path / f"out-{attempt}"
        process = world.start(output)
        wait_until(lambda at=output: len(list(at.glob("part-*"))) == len(world.expected) // 2 - 1)
        names = [output / name for name in world.expected]
        wait_until(lambda files=names: all(file.exists() for file in files), poll_s=0)
        process.kill()
        process.communicate()
        if not (output / "_SUCCESS").exists():
            break
    else:
        pytest.fail("no kill came between the last part and _SUCCESS")
    before = world.service.requests()

    ended = rerank_here(*world.options(output))

    assert ended.code == 0
    assert world.service.requests() == before
    assert results(output) == world.expected


def test_a_run_killed_while_it_compacts_the_store_loses_nothing(
    world: World, tmp_path: Path
) -> None:
    """The store has many small segments, which the end of a run merges into one."""
    full, kept = tmp_path / "full", tmp_path / "whole"
    shutil.copytree(world.given.parent / "whole" / "_scores", full)
    asyncio.run(_add_segments(full, 100))
    num_requests = info(locate(str(full))).requests
    interrupted = 0
    for attempt in range(3):
        output, scores = tmp_path / f"out-{attempt}", tmp_path / f"scores-{attempt}"
        shutil.copytree(full, scores)
        process = world.start(output, "--score-store", scores)
        wait_until((output / "_manifest.json").exists)
        wait_until(lambda at=output: len(list(at.glob("part-*"))) == len(world.expected) // 2 - 1)
        wait_until((output / "_SUCCESS").exists, poll_s=0)
        _spin(0.004 * attempt)
        process.kill()
        process.communicate()
        interrupted += len(list(scores.glob("segment-*"))) > 2

        before = world.service.requests()
        anew = rerank_here(*world.options(kept, "--score-store", scores, "--restart"))

        assert anew.code == 0
        assert world.service.requests() == before
        assert results(kept) == results(output) == world.expected
        assert info(locate(str(scores))).requests >= num_requests
    assert interrupted, "every kill came too late"


def _spin(wait_s: float) -> None:
    """Wait more precisely than a sleep does."""
    until = time.perf_counter() + wait_s
    while time.perf_counter() < until:
        pass


async def _add_segments(folder: Path, num_segments: int) -> None:
    one = folder.with_name("one")  # a store of its own, since a large one takes time to open
    for number in range(num_segments):
        async with ScoreStore(locate(str(one)), linger_s=0) as store:
            await store.save(_foreign(number), Scores(np.zeros(200), 0))
        for file in one.iterdir():
            file.rename(folder / file.name)


def _foreign(number: int) -> Request:
    """Return a request of another job, whose answer is in the same store."""
    return Request("", [""] * 200, 0, digest(b"%d" % number), digest(b"foreign"), number)


def test_the_next_run_removes_unfinished_files(world: World, tmp_path: Path) -> None:
    output = tmp_path / "out"
    world.kill_after(world.num_requests // 2, output)
    (output / ".part-00001.parquet.123.unfinished").write_bytes(b"half")

    assert rerank_here(*world.options(output)).code == 0

    assert not list(output.rglob("*.unfinished"))
