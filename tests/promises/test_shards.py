"""Shards of one output: together the bytes of a single run, whatever their order and kills."""

import json
import signal

import pyarrow.parquet as pq
import pytest
from support.real_runs import (
    SAMPLE,
    end,
    groups,
    killed,
    rerank_here,
    results,
    service,
    start,
    wait_until,
)
from support.tables import write

QUICK = ("--no-progress", "--groups-per-part", 3)
INPUT = SAMPLE / "candidates.parquet"


@pytest.fixture(scope="module")
def emulator():
    with service() as running:
        yield running


def run(source, output, emulator, *options):
    return rerank_here("run", source, output, *QUICK, *emulator.options, *options)


def committed(output, *options):
    return rerank_here("commit", output, *options)


CASES = {
    "plain": (),
    "texts and a cut": ("--with-text", "--top-n", 5),
    "some queries": ("--limit", 20),
    "repeats dropped": ("--duplicates", "first"),
    "large groups": ("--max-documents", 20),
    "by reference": (
        *("--queries", SAMPLE / "queries.jsonl"),
        *("--corpus", SAMPLE / "documents.jsonl"),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [2, 5])
def test_shards_in_any_order_write_the_bytes_of_a_single_run(
    tmp_path, emulator, case, count
) -> None:
    options, place = CASES[case], INPUT
    if case == "by reference":
        ids = pq.read_table(INPUT).select(["query_id", "doc_id"])
        place = write(ids, tmp_path / "ids.parquet")
    assert run(place, tmp_path / "one", emulator, *options).code == 0

    for index in reversed(range(1, count + 1)):
        ended = run(place, tmp_path / "many", emulator, *options, "--shard", f"{index}/{count}")
        assert ended.code == 0, ended.err
        assert not (tmp_path / "many" / "_SUCCESS").exists()
    assert committed(tmp_path / "many").code == 0

    assert results(tmp_path / "many") == results(tmp_path / "one")
    assert (tmp_path / "many" / "_SUCCESS").read_bytes() == b""
    assert not (tmp_path / "many" / "_shards.json").exists()


def test_a_part_that_ends_for_its_size_ends_there_for_every_shard(tmp_path, emulator) -> None:
    long = {(group, 0): "word " * 900_000 for group in range(4, 60, 3)}  # 4.5 MB each
    source = groups([2] * 60, tmp_path / "candidates.parquet", texts=long)
    options = ("--with-text", "--groups-per-part", 1_000, "--max-tokens-per-document", 100)
    assert run(source, tmp_path / "one", emulator, *options).code == 0
    assert len(list((tmp_path / "one").glob("part-*"))) == 3

    for index in (2, 1):
        shard = run(source, tmp_path / "many", emulator, *options, "--shard", f"{index}/2")
        assert shard.code == 0, shard.err

    assert committed(tmp_path / "many").code == 0
    assert results(tmp_path / "many") == results(tmp_path / "one")


def test_shards_that_run_at_once_write_the_bytes_of_a_single_run(tmp_path, emulator) -> None:
    source = groups([4] * 60, tmp_path / "candidates.parquet")
    assert run(source, tmp_path / "one", emulator).code == 0
    shards = [
        start(
            *("run", source, tmp_path / "many", *QUICK, *emulator.options),
            *("--shard", f"{index}/4", "--score-store", tmp_path / "scores"),
        )
        for index in range(1, 5)
    ]

    assert [end(shard).code for shard in shards] == [0, 0, 0, 0]
    assert committed(tmp_path / "many").code == 0
    assert results(tmp_path / "many") == results(tmp_path / "one")


def test_commit_names_the_shards_that_are_missing(tmp_path, emulator) -> None:
    output = tmp_path / "out"
    assert committed(output).code == 3
    assert run(INPUT, output, emulator, "--shard", "2/4").code == 0

    ended = committed(output)

    assert ended.code == 3
    assert "1/4" in ended.failure
    assert "3/4" in ended.failure
    assert "2/4" not in ended.failure
    assert not (output / "_SUCCESS").exists()


def test_commit_may_be_repeated(tmp_path, emulator) -> None:
    output = tmp_path / "out"
    for index in (1, 2):
        assert run(INPUT, output, emulator, "--shard", f"{index}/2").code == 0

    first, second = committed(output, "--json"), committed(output, "--json")

    assert (first.code, second.code) == (0, 0)
    assert first.facts == second.facts
    assert first.facts["groups"] == 51


def test_an_output_that_lost_success_is_committed_again_after_one_shard(tmp_path, emulator) -> None:
    output = tmp_path / "out"
    for index in (1, 2):
        assert run(INPUT, output, emulator, "--shard", f"{index}/2").code == 0
    assert committed(output).code == 0
    before, sent = results(output), emulator.requests()
    (output / "_SUCCESS").unlink()

    refused = committed(output)
    assert run(INPUT, output, emulator, "--shard", "2/2").code == 0
    again = committed(output)

    assert refused.code == 3
    assert "neither _SUCCESS nor _shards.json" in refused.failure
    assert "--shard I/N" in refused.failure
    assert again.code == 0
    assert (output / "_SUCCESS").exists()
    assert results(output) == before
    assert emulator.requests() == sent


def test_a_killed_shard_goes_on_where_it_stopped(tmp_path) -> None:
    source = groups([3] * 40, tmp_path / "candidates.parquet")
    with service("--requests-per-minute", 1_200) as slow:
        assert run(source, tmp_path / "one", slow).code == 0
        paid_for_one = slow.answers()
        shard = start(
            *("run", source, tmp_path / "many", *QUICK, *slow.options, "--shard", "1/2"),
            *("--max-in-flight", 4, "--requests-per-minute", 1_200),
        )
        wait_until(lambda: slow.answers() > paid_for_one + 8)
        killed(shard)
        assert committed(tmp_path / "many").code == 3
        for index in (1, 2):
            assert run(source, tmp_path / "many", slow, "--shard", f"{index}/2").code == 0
        paid_for_many = slow.answers() - paid_for_one

    assert committed(tmp_path / "many").code == 0
    assert results(tmp_path / "many") == results(tmp_path / "one")
    assert paid_for_many <= paid_for_one + 6


def test_runs_of_one_shard_and_of_a_whole_exclude_each_other(tmp_path) -> None:
    source = groups([3] * 400, tmp_path / "candidates.parquet")
    output = tmp_path / "out"
    with service("--latency-ms", 300) as slow:
        options = ("run", source, output, *QUICK, *slow.options, "--max-in-flight", 1)
        first = start(*options, "--shard", "1/2")
        try:
            wait_until(lambda: slow.requests() > 2)
            status = json.loads(rerank_here("status", output, "--json").out)
            codes = {
                "same": rerank_here(*options, "--shard", "1/2").code,
                "other count": rerank_here(*options, "--shard", "2/3").code,
                "whole": rerank_here(*options).code,
                "commit": committed(output).code,
            }
            second = start(*options, "--shard", "2/2")
            wait_until(lambda: any(output.glob("_locks/2-of-2")))
        finally:
            first.send_signal(signal.SIGTERM)
            ended = end(first)
        second.send_signal(signal.SIGTERM)
        other = end(second)

    assert codes == {"same": 6, "other count": 6, "whole": 6, "commit": 6}
    assert (ended.code, other.code) == (143, 143)
    assert status["state"] == "running"
    assert status["shards"] == 2


def test_a_shard_of_other_settings_is_refused(tmp_path, emulator) -> None:
    output = tmp_path / "out"
    assert run(INPUT, output, emulator, "--shard", "1/2").code == 0

    assert run(INPUT, output, emulator, "--shard", "2/2", "--top-n", 3).code == 5
    assert run(INPUT, output, emulator, "--shard", "2/2", "--restart").code == 2


def test_rejects_of_a_shard_are_asked_for_again_and_keep_the_commit_back(tmp_path) -> None:
    source = groups([3] * 12, tmp_path / "candidates.parquet", texts={(1, 1): "a poison-pill"})
    output = tmp_path / "out"
    with service("--fault", "poison") as poisoned:
        codes = [run(source, output, poisoned, "--shard", f"{index}/2").code for index in (1, 2)]
        strict, lenient = committed(output), committed(output, "--max-rejects", 1)

    assert codes == [7, 0]
    assert strict.code == 7
    assert lenient.code == 0


def test_a_whole_run_finishes_what_shards_began(tmp_path, emulator) -> None:
    assert run(INPUT, tmp_path / "one", emulator).code == 0
    assert run(INPUT, tmp_path / "out", emulator, "--shard", "2/3").code == 0

    assert run(INPUT, tmp_path / "out", emulator).code == 0

    assert results(tmp_path / "out") == results(tmp_path / "one")
    assert not (tmp_path / "out" / "_shards.json").exists()


def test_a_limit_of_the_cost_holds_for_all_shards_together(tmp_path, emulator) -> None:
    assert run(INPUT, tmp_path / "one", emulator, "--max-cost", 1).code == 0
    record = json.loads(next((tmp_path / "one" / "_runs").glob("*.json")).read_text())
    limit = record["cost_usd"] / 2
    output = tmp_path / "out"

    codes = [
        run(INPUT, output, emulator, "--shard", f"{index}/2", "--max-cost", limit).code
        for index in (1, 2)
    ]

    runs = [json.loads(file.read_text()) for file in (output / "_runs").glob("*.json")]
    assert codes == [9, 9]
    assert sum(one["cost_usd"] for one in runs) <= limit
    assert all(one["cost_usd"] > 0 for one in runs)


def test_an_input_without_rows_makes_the_output_of_a_single_run(tmp_path, emulator) -> None:
    source = groups([], tmp_path / "candidates.parquet")
    assert run(source, tmp_path / "one", emulator).code == 0

    for index in (1, 2, 3):
        assert run(source, tmp_path / "many", emulator, "--shard", f"{index}/3").code == 0

    assert committed(tmp_path / "many").code == 0
    assert results(tmp_path / "many") == results(tmp_path / "one")


def test_a_shard_after_the_commit_sends_nothing(tmp_path, emulator) -> None:
    output = tmp_path / "out"
    for index in (1, 2):
        assert run(INPUT, output, emulator, "--shard", f"{index}/2").code == 0
    assert committed(output).code == 0
    before, sent = results(output), emulator.requests()

    assert run(INPUT, output, emulator, "--shard", "1/2").code == 0

    assert emulator.requests() == sent
    assert results(output) == before
    assert (output / "_SUCCESS").exists()
