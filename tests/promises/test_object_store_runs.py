"""The whole job on an object store: real processes, a real client, a real server on loopback."""

import gzip
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from support.object_store import BUCKET, KEYS, Store, moto_store
from support.real_runs import (
    SAMPLE,
    Service,
    end,
    environment,
    groups,
    killed,
    rerank,
    rerank_here,
    results,
    service,
    start,
    wait_until,
)

RATE = 80
"""Requests per second of a run that is observed while it goes on."""
IN_FLIGHT = 8
UNSAVED_S = 2.0
"""How long an answer may take from its arrival to the store's object."""
SLOW = ("--requests-per-minute", 60 * RATE, "--max-in-flight", IN_FLIGHT)
NUM_GROUPS = 320


@dataclass(frozen=True)
class World:
    """An object store, a service, candidates, and the result of a run on disk."""

    store: Store
    service: Service
    given: Path
    expected: dict[str, bytes]

    def options(self, source: object, output: str) -> tuple[object, ...]:
        return (
            *("run", source, output, *self.service.options, "--no-progress", "--json"),
            *("--groups-per-part", 40),
        )

    def start(self, source: object, output: str, *more: object) -> "subprocess.Popen[str]":
        return start(*self.options(source, output), *more, env=self.store.env)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    given = groups([5] * NUM_GROUPS, folder / "in" / "candidates.parquet", texts={(3, 2): None})
    with moto_store() as store, service("--latency-ms", 5) as emulator:
        store.put(given, "in/candidates.parquet")
        here = World(store, emulator, given, {})
        local = rerank(*here.options(given, str(folder / "out")))
        assert local.code == 0, local.err
        yield World(store, emulator, given, results(folder / "out"))


def state(world: World, output: str) -> str:
    ended = rerank_here("status", output, "--json")
    assert ended.code == 0, ended.err
    return str(ended.facts["state"])


def test_a_run_gives_the_bytes_of_a_run_on_disk_and_the_next_one_sends_nothing(
    world: World,
) -> None:
    output = f"s3://{BUCKET}/whole/out"

    first = rerank(*world.options(f"s3://{BUCKET}/in", output), env=world.store.env)
    paid = world.service.requests()
    again = rerank(*world.options(f"s3://{BUCKET}/in/c*.parquet", output), env=world.store.env)

    assert (first.code, again.code) == (0, 0), again.err
    assert world.store.results("whole/out") == world.expected
    assert world.service.requests() == paid
    assert again.facts["requests"] == 0
    assert "secret-of-the-store" not in str(
        [world.store.at("whole/out/_runs").child(record.base_name).read()
         for record in world.store.at("whole/out/_runs").children()]
    )  # fmt: skip
    assert state(world, output) == "done"
    ended = rerank_here("store", "info", f"{output}/_scores", "--json")
    assert ended.facts["requests"] == NUM_GROUPS


def test_evaluate_and_a_shared_score_store_work(world: World) -> None:
    judged = world.store.put(SAMPLE / "qrels.parquet", "sample/qrels.parquet")
    source = world.store.put(SAMPLE / "candidates.parquet", "sample/in.parquet")
    shared = ("--score-store", f"s3://{BUCKET}/sample/scores")
    one, two = (f"s3://{BUCKET}/sample/{name}" for name in ("one", "two"))

    paid = rerank(*world.options(source, one), *shared, env=world.store.env)
    reused = rerank_here(*world.options(source, two), *shared, "--top-n", 5)
    measured = rerank_here("evaluate", one, "--qrels", judged, "--json")
    pruned = rerank_here("store", "prune", shared[1], "--unused-for", 0, "--json")

    assert (paid.code, paid.facts["requests"]) == (0, 51), paid.err
    assert (reused.code, reused.facts["requests"]) == (0, 0), reused.err
    assert reused.facts["requests_reused"] == 51
    assert measured.facts["measures"]["nDCG@10"]["after"] > 0.7
    assert pruned.facts["removed"] in (0, 51)


def test_a_killed_run_is_continued_at_once_and_pays_little_again(world: World) -> None:
    output, where = f"s3://{BUCKET}/killed/out", world.store.at("killed/out")
    before = world.service.answers()
    process = world.start(f"s3://{BUCKET}/in", output, *SLOW)
    wait_until(lambda: world.service.answers() - before >= 2.8 * RATE, poll_s=0.02)

    assert state(world, output) == "running"
    killed(process)
    assert not where.child("_SUCCESS").exists()
    assert state(world, output) == "interrupted"
    where.child("part-00000.parquet").remove()  # its answers are in the store
    again = rerank(*world.options(f"s3://{BUCKET}/in", output), env=world.store.env)

    paid_again = world.service.answers() - before - NUM_GROUPS
    assert again.code == 0, again.err
    assert world.store.results("killed/out") == world.expected
    assert paid_again <= IN_FLIGHT + UNSAVED_S * RATE
    assert again.facts["requests_reused"] >= 40
    assert state(world, output) == "done"


def test_a_second_run_is_refused_and_goes_on_after_the_first_is_stopped(world: World) -> None:
    output = f"s3://{BUCKET}/held/out"
    before = world.service.answers()
    first = world.start(world.given, output, *SLOW)
    wait_until(lambda: world.service.answers() - before >= 20, poll_s=0.02)

    second = rerank(*world.options(world.given, output), env=world.store.env)
    asked = time.monotonic()
    first.send_signal(signal.SIGTERM)
    stopped = end(first)

    assert second.code == 6
    assert f"process {first.pid} on" in second.failure
    assert stopped.code == 143
    assert time.monotonic() - asked < 5
    assert state(world, output) == "interrupted"
    waited = rerank(*world.options(world.given, output), env=world.store.env)
    assert waited.code == 0
    assert world.store.results("held/out") == world.expected
    assert world.service.answers() - before == NUM_GROUPS, "an interrupt loses nothing"


def test_damage_is_repaired_without_a_request(world: World) -> None:
    output = f"s3://{BUCKET}/damaged/out"
    where = world.store.at("damaged/out")
    assert rerank_here(*world.options(world.given, output)).code == 0
    paid = world.service.requests()
    part = where.child("part-00001.parquet").read()
    assert part is not None
    where.child("part-00001.parquet").publish(part[: len(part) // 2])
    where.child("part-00003.parquet").remove()
    where.child("_groups", "part-00005.parquet").remove()

    again = rerank_here(*world.options(world.given, output))

    assert again.code == 0, again.err
    assert world.store.results("damaged/out") == world.expected
    assert world.service.requests() == paid


# --- Stores that cannot be reached --------------------------------------------------------------


def test_a_missing_bucket_ends_the_run_with_one_line(world: World) -> None:
    source = rerank_here(*world.options("s3://no-such-bucket/in", "s3://lake/x"))
    output = rerank_here(*world.options(world.given, "s3://no-such-bucket/x"))
    nothing = rerank_here("status", "s3://no-such-bucket/x")

    assert (source.code, output.code, nothing.code) == (3, 1, 3)
    assert "s3://no-such-bucket/in: no such object, prefix or bucket" in source.failure
    assert "s3://no-such-bucket/x" in output.failure
    assert "no such object, bucket or container; create the bucket" in output.failure


def test_a_wrong_key_ends_the_run_with_one_line(world: World) -> None:
    with moto_store(guarded=True) as guarded:
        source = rerank(*world.options(f"s3://{BUCKET}/in", "out"), env=guarded.env)
        output = rerank(*world.options(world.given, f"s3://{BUCKET}/x"), env=guarded.env)

    assert (source.code, output.code) == (3, 1)
    for ended in (source, output):
        assert "access denied" in ended.failure
        assert "check the store's credentials (AWS_*, AZURE_* or GOOGLE_*)" in ended.failure
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in ended.err


def test_an_endpoint_that_refuses_is_given_up_soon(world: World) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, but it does not listen
        env = environment(AWS_ENDPOINT_URL=f"http://127.0.0.1:{nobody.getsockname()[1]}", **KEYS)
        began = time.monotonic()
        both = [
            start(*world.options(f"s3://{BUCKET}/in", "out"), env=env),
            start(*world.options(world.given, f"s3://{BUCKET}/x"), env=env),
        ]
        source, output = (end(process) for process in both)

    assert (source.code, output.code) == (3, 1)
    assert time.monotonic() - began < 30
    for ended in (source, output):
        assert "no connection, or no answer in time" in ended.failure
        assert "AWS_ENDPOINT_URL" in ended.failure


def test_candidates_by_reference_are_joined_where_all_is_on_the_store(
    world: World, tmp_path: Path
) -> None:
    long = pl.read_parquet(world.given)
    ids = [f"{q} Q0 {d} 1 1.0 t\n" for q, d in long.select("query_id", "doc_id").iter_rows()]
    files = {
        "ids.run.gz": gzip.compress("".join(ids).encode()),
        "queries.tsv": "".join(
            f"{q}\t{text}\n" for q, text in long.select("query_id", "query").unique().iter_rows()
        ).encode(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        world.store.put(tmp_path / name, f"ref/{name}")
    long.select("doc_id", "text").write_parquet(tmp_path / "corpus.parquet")
    world.store.put(tmp_path / "corpus.parquet", "ref/corpus.parquet")
    options = [
        *world.options(f"s3://{BUCKET}/ref/ids.run.gz", f"s3://{BUCKET}/ref-out"),
        *("--queries", f"s3://{BUCKET}/ref/queries.tsv"),
        *("--corpus", f"s3://{BUCKET}/ref/corpus.parquet"),
    ]

    first = end(start(*options, env=world.store.env))
    again = end(start(*options, env=world.store.env))

    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert first.facts["candidates_done"] == long.height
    assert (again.facts["state"], again.facts["requests"]) == ("done", 0)
    left = {info.base_name for info in world.store.at("ref-out/_prepared").children()}
    assert left == {"record.json"}


def test_shards_in_a_bucket_write_what_a_single_run_writes(world: World) -> None:
    output = f"s3://{BUCKET}/shards"
    source = f"s3://{BUCKET}/in"
    shards = [world.start(source, output, "--shard", f"{index}/3") for index in (1, 2, 3)]
    assert [end(shard).code for shard in shards] == [0, 0, 0]
    assert rerank("status", output, "--json", env=world.store.env).facts["shards_done"] == 3

    ended = rerank("commit", output, env=world.store.env)

    assert ended.code == 0, ended.err
    assert world.store.results("shards") == world.expected
    assert state(world, output) == "done"


def test_one_shard_in_a_bucket_has_one_run(world: World) -> None:
    output = f"s3://{BUCKET}/one-shard"
    source = f"s3://{BUCKET}/in"
    first = world.start(source, output, "--shard", "1/2", "--requests-per-minute", 120)
    sent = world.service.requests()
    wait_until(lambda: world.service.requests() > sent + 3)

    again = world.start(source, output, "--shard", "1/2")
    whole = world.start(source, output)

    assert (end(again).code, end(whole).code) == (6, 6)
    first.send_signal(signal.SIGTERM)
    assert end(first).code == 143
