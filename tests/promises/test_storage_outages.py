"""Nothing that was paid for is lost while the disk or the object store is out of order."""

import io
import resource
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.hostile_store import HostileStore, Verdict, hostile_store
from support.object_store import BUCKET, moto_store
from support.real_runs import (
    Ended,
    Service,
    end,
    groups,
    rerank,
    rerank_here,
    results,
    service,
    start,
    wait_until,
)

RATE, IN_FLIGHT = 40, 8
"""Requests a second, and at once."""
NOTICED_S = 4.5
"""A save begins a second after the first answer, and some seconds later the client gives up."""
OUTAGE_S = 12.0
NUM_GROUPS = 320


@dataclass
class World:
    """A store that may fail, a service, candidates, and what a run on disk makes of them."""

    hostile: HostileStore
    service: Service
    given: Path
    expected: dict[str, bytes] = field(default_factory=dict)

    def options(self, output: object, *more: object) -> tuple[object, ...]:
        return (
            *("run", self.given, output, *self.service.options, "--no-progress", "--json"),
            *("--groups-per-part", 40, *more),
        )

    def run(self, output: object, *more: object) -> Ended:
        return rerank(*self.options(output, *more), env=self.hostile.store.env)

    def start(self, output: object, *more: object):
        paced = ("--requests-per-minute", 60 * RATE, "--max-in-flight", IN_FLIGHT)
        return start(*self.options(output, *paced, *more), env=self.hostile.store.env)

    def wait_for_answers(self, count: int) -> None:
        wait_until(lambda: self.service.answers() >= count, poll_s=0.02)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    given = groups([5] * NUM_GROUPS, folder / "candidates.parquet", texts={(3, 2): None})
    with (
        moto_store() as target,
        hostile_store(target) as hostile,
        service("--latency-ms", 5) as emulator,
    ):
        world = World(hostile, emulator, given)
        local = rerank(*world.options(folder / "out"))
        assert local.code == 0, local.err
        world.expected = results(folder / "out")
        yield world


def writes_of(*parts: str, status: int = 503) -> Verdict:
    """Fail the writes below a path that holds one of these parts."""
    return lambda method, path: (
        status if method in ("PUT", "POST") and any(part in path for part in parts) else None
    )


def test_an_object_store_that_is_down_for_a_while_holds_the_run_up_and_costs_nothing(
    world: World,
) -> None:
    before = world.service.answers()
    process = world.start(f"s3://{BUCKET}/down/out")
    world.wait_for_answers(before + 60)

    with world.hostile.failing():
        time.sleep(OUTAGE_S)
        paid_meanwhile = world.service.answers() - before - 60
    ended = end(process)

    assert ended.code == 0, ended.err
    assert paid_meanwhile <= RATE * NOTICED_S + IN_FLIGHT
    assert world.service.answers() - before == NUM_GROUPS
    assert world.hostile.store.results("down/out") == world.expected
    assert "storage.failed" in ended.err
    again = world.run(f"s3://{BUCKET}/down/out", "--restart")
    assert (again.code, again.facts["requests"]) == (0, 0), "every answer was saved"


@pytest.mark.parametrize("what", ["/out/part-", "/out/_manifest", "/out/_runs/", "/out/_SUCCESS"])
def test_files_of_the_output_are_written_once_the_store_takes_them(world: World, what: str) -> None:
    before, folder = world.service.answers(), f"once/{what.strip('/').replace('/', '-')}"
    with world.hostile.failing(writes_of(what)):
        process = world.start(f"s3://{BUCKET}/{folder}/out", "--requests-per-minute", 10_000)
        wait_until(lambda: world.hostile.failed["PUT"] > 8, poll_s=0.02)
    ended = end(process)
    world.hostile.failed.clear()

    assert ended.code == 0, ended.err
    assert world.service.answers() - before == NUM_GROUPS
    assert world.hostile.store.results(f"{folder}/out") == world.expected
    assert world.hostile.store.at(f"{folder}/out/_SUCCESS").exists()


def test_an_interrupt_while_answers_wait_saves_them_at_the_close(world: World) -> None:
    before = world.service.answers()
    process = world.start(f"s3://{BUCKET}/stopped/out")
    world.wait_for_answers(before + 60)

    with world.hostile.failing(writes_of("_scores/segment-")):
        world.hostile.failed.clear()
        wait_until(lambda: world.hostile.failed["PUT"] > 3, poll_s=0.02)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    stopped = end(process)
    again = world.run(f"s3://{BUCKET}/stopped/out")

    assert (stopped.code, again.code) == (143, 0), stopped.err + again.err
    assert world.service.answers() - before == NUM_GROUPS
    assert world.hostile.store.results("stopped/out") == world.expected


@pytest.mark.parametrize("status", [503, None], ids=["503", "silent"])
def test_an_interrupt_while_the_store_is_down_ends_in_time_and_tells_what_is_lost(
    world: World, status: int | None
) -> None:
    before, folder = world.service.answers(), f"signal-{status}/out"
    process = world.start(f"s3://{BUCKET}/{folder}")
    world.wait_for_answers(before + 60)

    def down(method: str, path: str) -> int | None:
        if status is None:
            answered.wait(20)
        return 503

    answered = threading.Event()
    with world.hostile.failing(down):
        time.sleep(2)
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        stopped = end(process)
        took_s = time.monotonic() - asked
        answered.set()
    lost = int(stopped.failure.partition("; ")[2].partition(" paid answers")[0])
    again = world.run(f"s3://{BUCKET}/{folder}")

    assert stopped.code == 143
    assert took_s < 5
    assert "paid answers could not be saved" in stopped.failure
    assert again.code == 0, again.err
    paid = world.service.answers() - before
    assert paid <= NUM_GROUPS + lost + IN_FLIGHT, "what is lost is told"
    assert lost >= paid - NUM_GROUPS - IN_FLIGHT


def test_a_store_that_stays_down_ends_the_run_in_one_line_and_without_success(
    world: World,
) -> None:
    before = world.service.answers()
    process = world.start(f"s3://{BUCKET}/lost/out", "--max-outage", 0.05)
    world.wait_for_answers(before + 20)

    with world.hostile.failing(writes_of("_scores/segment-")):
        ended = end(process)

    assert ended.code == 1
    assert "paid answers are lost: cannot be written" in ended.failure
    assert world.service.answers() - before < NUM_GROUPS, "nothing more was paid for"
    assert not world.hostile.store.at("lost/out/_SUCCESS").exists()


def test_success_is_told_only_once_the_last_answer_is_saved(world: World) -> None:
    before = world.service.answers()
    options = ("--max-outage", 0.04, "--groups-per-part", 1_000)
    process = world.start(f"s3://{BUCKET}/unsaved/out", *options, "--requests-per-minute", 10_000)
    world.wait_for_answers(before + 200)

    with world.hostile.failing(writes_of("_scores/segment-")):
        ended = end(process)
    exists = world.hostile.store.at("unsaved/out/_SUCCESS").exists()
    again = world.run(f"s3://{BUCKET}/unsaved/out", "--groups-per-part", 1_000)

    assert (ended.code, exists) == (1, False), ended.err
    assert again.code == 0
    assert world.hostile.store.at("unsaved/out/_SUCCESS").exists()


def rows(content: bytes) -> list[dict[str, object]]:
    return pq.read_table(io.BytesIO(content)).to_pylist()


def test_an_input_that_cannot_be_read_for_a_while_holds_the_run_up(world: World) -> None:
    table, size = pq.read_table(world.given), 5 * NUM_GROUPS // 8
    for number in range(8):
        sink = io.BytesIO()
        pq.write_table(table.slice(number * size, size), sink)
        world.hostile.store.at(f"input/{number}.parquet").publish(sink.getvalue())
    failing_since: list[float] = []

    def fails_for_a_while(method: str, path: str) -> int | None:
        if method != "GET" or not path.endswith("input/5.parquet") or not opened.is_set():
            return None
        failing_since.append(time.monotonic())
        return 503 if time.monotonic() - failing_since[0] < OUTAGE_S else None

    opened, before = threading.Event(), world.service.answers()
    with world.hostile.failing(fails_for_a_while):
        options = ("--requests-per-minute", 60 * RATE, *world.service.options, "--no-progress")
        output = f"s3://{BUCKET}/in-outage/out"
        process = start(
            *("run", f"s3://{BUCKET}/input", output, "--groups-per-part", 40, *options),
            env=world.hostile.store.env,
        )
        world.wait_for_answers(before + 1)
        opened.set()
        ended = end(process)

    assert ended.code == 0, ended.err
    assert failing_since
    assert "storage.failed" in ended.err
    assert world.service.answers() - before == NUM_GROUPS
    found = world.hostile.store.results("in-outage/out")
    # Its files name another input.
    assert {name: rows(content) for name, content in found.items()} == {
        name: rows(content) for name, content in world.expected.items()
    }


def test_a_full_disk_holds_the_run_up_until_there_is_room(world: World, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the end of the disk."""
    before, output = world.service.answers(), tmp_path / "out"
    process = world.start(output, "--max-outage", 1)
    world.wait_for_answers(before + 60)

    unlimited = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (8_192, unlimited[1]))
    time.sleep(3)
    held_at = world.service.answers()
    time.sleep(2)
    held_until = world.service.answers()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, unlimited)
    ended = end(process)

    assert ended.code == 0, ended.err
    assert held_until == held_at < before + NUM_GROUPS
    assert world.service.answers() - before == NUM_GROUPS
    assert results(output) == world.expected


# --- A score store that cannot be written ---------------------------------------------------------


def refused(world: World, tmp_path: Path, scores: object) -> str:
    """Run with a score store, which must be refused before the first request; return the line."""
    before = world.service.requests()
    ended = rerank_here(*world.options(tmp_path / "out", "--score-store", scores))
    assert ended.code == 2
    assert world.service.requests() == before
    assert str(scores) in ended.failure
    return ended.failure


def test_a_file_in_the_place_of_the_score_store_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "scores").write_text("not a folder")

    told = refused(world, tmp_path, tmp_path / "scores")

    assert "the score store cannot be written: File exists; a file stands where" in told


def test_a_score_store_below_a_file_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    told = refused(world, tmp_path, tmp_path / "file" / "scores")

    assert "the score store cannot be written: Not a directory" in told


def test_a_score_store_on_a_read_only_file_system_is_refused(world: World, tmp_path: Path) -> None:
    told = refused(world, tmp_path, "/sys/kernel/scores")

    assert "the score store cannot be written" in told


def test_a_score_store_in_a_missing_bucket_is_refused(world: World, tmp_path: Path) -> None:
    told = refused(world, tmp_path, "s3://no-such-bucket/scores")

    assert "the score store cannot be written: no such object, bucket or container" in told


def test_a_score_store_without_permission_to_write_is_refused(world: World, tmp_path: Path) -> None:
    with world.hostile.failing(writes_of("/scores/", status=403)):
        told = refused(world, tmp_path, f"s3://{BUCKET}/denied/scores")

    assert "the score store cannot be written: access denied (AccessDenied)" in told
    assert "check the store's credentials" in told
