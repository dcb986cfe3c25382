"""The XCom of a task: what the command printed, and small."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.real_runs import SAMPLE, groups, rerank_here

from jobs.airflow.summary import MAX_BYTES, MAX_NAMED, read_summary, small


def test_the_summary_of_a_run_is_kept_as_it_is(tmp_path: Any) -> None:
    command = ("run", SAMPLE / "candidates.parquet", tmp_path / "out", "--provider", "emulator")
    ended = rerank_here(*command, "--json", "--no-progress")

    assert read_summary(ended.out) == ended.facts
    assert len(ended.out) < MAX_BYTES / 4


def test_partitions_are_counted_and_some_that_are_not_done_are_named(tmp_path: Any) -> None:
    for day in range(1, 31):
        groups([2], tmp_path / "in" / f"dt=2026-11-{day:02d}" / "a.parquet")
    dates = ("--from", "2026-11-01", "--to", "2026-11-30")
    command = ("backfill", tmp_path / "in", tmp_path / "out", *dates, "--provider", "emulator")
    ended = rerank_here(*command, "--json", "--no-progress")
    partitions = ended.facts["partitions"]
    failed = [one | {"state": "failed", "exit_code": 3, "error": "x" * 600} for one in partitions]

    done = read_summary(ended.out)
    assert done is not None
    assert done == ended.facts | {"partitions": {"done": 30}, "not_done": []}
    half = small(ended.facts | {"partitions": [*failed[:25], *partitions[25:]]})
    assert half["partitions"] == {"failed": 25, "done": 5}
    assert len(half["not_done"]) == MAX_NAMED
    assert half["not_done"][0] == {
        "partition": "dt=2026-11-01",
        "state": "failed",
        "exit_code": 3,
        "error": "x" * 600,
    }
    assert "left_out" not in half


@given(st.dictionaries(st.text(max_size=5_000), st.text(max_size=20_000) | st.integers()))
def test_every_summary_is_small(facts: dict[str, Any]) -> None:
    kept = small(facts)

    assert len(json.dumps(kept)) <= MAX_BYTES
    for name in facts.keys() & kept.keys() - {"left_out", "partitions", "not_done"}:
        assert kept[name] == facts[name]


def test_the_largest_values_are_left_out_by_name() -> None:
    facts = {"all": ["x"] * 10_000, "measures": {"nDCG@10": 0.5}}

    assert small(facts) == {"measures": {"nDCG@10": 0.5}, "left_out": ["all"]}


def test_what_is_no_json_object_is_no_summary() -> None:
    assert read_summary("") is None
    assert read_summary("51 judged queries\n") is None
    assert read_summary("[1]") is None
