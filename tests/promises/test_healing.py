"""A damaged output is repaired by the same command, and nothing that was paid is paid again."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.real_runs import Service, groups, rerank_here, results, service

from pipeline.output.run_records import read_run_records
from pipeline.storage.location import locate

NUM_GROUPS, PER_PART = 60, 10
IN_WAVES = ("--max-in-flight", 8)
LATENCY_MS = 40
"""Longer than answers wait to be written together, so the store's segment has many blocks."""


@dataclass(frozen=True)
class World:
    """A finished output, of which tests take copies, and the service that scored it."""

    service: Service
    given: Path
    finished: Path
    expected: dict[str, bytes]

    def options(self, output: Path, *more: object) -> tuple[object, ...]:
        pace = ("--requests-per-minute", 1_000_000, "--no-progress", "--json")
        cut = ("--groups-per-part", PER_PART, *IN_WAVES)
        return ("run", self.given, output, *self.service.options, *pace, *cut, *more)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    given = groups([4] * NUM_GROUPS, folder / "in.parquet", texts={(25, 1): None, (3, 0): " "})
    with service("--latency-ms", LATENCY_MS) as emulator:
        world = World(emulator, given, folder / "out", {})
        assert rerank_here(*world.options(world.finished)).code == 0
        yield World(emulator, given, world.finished, results(world.finished))


@pytest.fixture
def output(world: World, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world.finished, tmp_path / "out"))


def remove(*names: str) -> Callable[[Path], None]:
    def damage(output: Path) -> None:
        for name in names:
            (output / name).unlink()

    return damage


def cut_short(name: str, share: float) -> Callable[[Path], None]:
    def damage(output: Path) -> None:
        content = (output / name).read_bytes()
        (output / name).write_bytes(content[: int(share * len(content))])

    return damage


def swap(one: str, other: str) -> Callable[[Path], None]:
    def damage(output: Path) -> None:
        shutil.copy(output / other, output / one)

    return damage


def foreign(output: Path) -> None:
    """Write a part with another run's fingerprint, otherwise unchanged."""
    file = output / "part-00002.parquet"
    table = pq.read_table(file)
    kept = json.loads(pq.read_metadata(file).metadata[b"rerank"])
    facts = kept | {"fingerprint": "of another run"}
    pq.write_table(table.replace_schema_metadata({b"rerank": json.dumps(facts)}), file)


DAMAGES = {
    "a deleted part": remove("part-00001.parquet"),
    "a deleted part without _SUCCESS": remove("part-00001.parquet", "_SUCCESS"),
    "the last part deleted": remove("part-00005.parquet"),
    "all parts deleted": remove(*(f"part-{index:05d}.parquet" for index in range(6))),
    "deleted groups": remove("_groups/part-00003.parquet"),
    "deleted rejects": remove("_rejects/part-00002.parquet"),
    "no _SUCCESS": remove("_SUCCESS"),
    "a truncated part": cut_short("part-00004.parquet", 0.9),
    "an empty part": cut_short("part-00004.parquet", 0.0),
    "truncated groups": cut_short("_groups/part-00000.parquet", 0.5),
    "truncated rejects": cut_short("_rejects/part-00002.parquet", 0.5),
    "a part under another's name": swap("part-00001.parquet", "part-00004.parquet"),
    "a part of another run": foreign,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_repaired_from_the_store_without_a_request(
    world: World, output: Path, name: str
) -> None:
    paid = world.service.requests()
    DAMAGES[name](output)

    ended = rerank_here(*world.options(output))

    assert ended.code == 0, ended.err
    assert results(output) == world.expected
    assert (output / "_SUCCESS").exists()
    assert ended.facts["requests"] == 0
    assert world.service.requests() == paid


def test_an_undamaged_output_is_not_touched(world: World, output: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in output.glob("**/part-*.parquet")}

    assert rerank_here(*world.options(output)).code == 0

    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_unfinished_files_of_a_killed_run_are_ignored_and_then_removed(
    world: World, output: Path
) -> None:
    leftovers = [
        output / folder / f".{name}.4711.unfinished"
        for folder, name in (
            ("", "part-00001.parquet"),
            ("", "_manifest.json"),
            ("_groups", "part-00001.parquet"),
            ("_rejects", "part-00001.parquet"),
            ("_runs", "20260101T000000.000000Z-abcdef.json"),
        )
    ]
    for leftover in leftovers:
        leftover.write_bytes(b"PAR1 half of")

    status = rerank_here("status", output, "--json")
    ended = rerank_here(*world.options(output))

    assert (status.facts["state"], status.facts["parts_done"]) == ("done", 6)
    assert (ended.code, ended.facts["requests"]) == (0, 0), ended.err
    assert [leftover for leftover in leftovers if leftover.exists()] == []
    assert results(output) == world.expected


def test_a_damaged_run_record_is_left_out_and_logged(world: World, output: Path) -> None:
    (record,) = (output / "_runs").glob("*.json")
    record.write_bytes(b"{ half of")

    status = rerank_here("status", output, "--json")
    ended = rerank_here(*world.options(output))

    assert status.facts["state"] == "done"
    assert ended.code == 0
    assert [run.state for run in read_run_records(locate(str(output)))] == ["done"]


# --- The score store ----------------------------------------------------------------------------


def only_segment(output: Path) -> Path:
    (segment,) = (output / "_scores").glob("segment-*")
    return segment


def forget_parts(output: Path) -> None:
    for part in output.glob("part-*.parquet"):
        part.unlink()


@pytest.mark.parametrize("place", [0.15, 0.4, 0.6, 0.8])
def test_answers_with_flipped_bits_are_paid_again_and_never_used(
    world: World, output: Path, place: float
) -> None:
    forget_parts(output)
    segment = only_segment(output)
    content = bytearray(segment.read_bytes())
    for offset in range(8):
        content[int(place * len(content)) + 37 * offset] ^= 0x40
    segment.write_bytes(content)

    ended = rerank_here(*world.options(output))
    forget_parts(output)
    again = rerank_here(*world.options(output))

    warnings = [line for line in ended.err.splitlines() if " warning " in line]
    assert ended.code == 0, ended.err
    assert results(output) == world.expected
    assert 1 <= ended.facts["requests"] < NUM_GROUPS
    assert ended.facts["requests"] + ended.facts["requests_reused"] == NUM_GROUPS
    assert len(warnings) == 1, ended.err
    assert f"score_store.damaged segment={segment}" in warnings[0]
    assert (again.code, again.facts["requests"]) == (0, 0), "what was lost is whole again"
    assert "damaged" not in again.err


def test_without_the_store_only_missing_parts_are_paid_again(world: World, output: Path) -> None:
    shutil.rmtree(output / "_scores")
    (output / "part-00002.parquet").unlink()

    ended = rerank_here(*world.options(output))

    assert (ended.code, ended.facts["requests"]) == (0, PER_PART)
    assert results(output) == world.expected


def test_a_truncated_segment_serves_its_intact_answers(world: World, output: Path) -> None:
    forget_parts(output)
    segment = only_segment(output)
    os.truncate(segment, segment.stat().st_size // 2)

    ended = rerank_here(*world.options(output))

    assert ended.code == 0
    assert results(output) == world.expected
    assert 0 < ended.facts["requests"] < NUM_GROUPS
