"""`rerank backfill`: many partitions, one session."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.real_runs import (
    Service,
    end,
    groups,
    killed,
    rerank,
    rerank_here,
    results,
    service,
    start,
    wait_until,
)

DAYS = [f"2026-11-{day:02d}" for day in range(1, 6)]
ALL = ("--from", DAYS[0], "--to", DAYS[-1])


def lake(folder: Path, days: Sequence[str] = DAYS, num_groups: int = 8) -> Path:
    """Write partitions whose queries are all different, but for the first two days."""
    for number, day in enumerate(days):
        of_day = {
            (group, place): f"text {max(number, 1)} {group} {place}"
            for group in range(num_groups)
            for place in range(3)
        }
        groups([3] * num_groups, folder / f"dt={day}" / "a.parquet", texts=of_day)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return lake(tmp_path / "in")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "out"


def partitions(facts: dict[str, Any], name: str) -> list[Any]:
    return [partition[name] for partition in facts["partitions"]]


def test_each_partition_in_the_range_becomes_an_ordinary_output(
    source: Path, root: Path, tmp_path: Path, quick_service: Service
) -> None:
    command = ("backfill", source, root, "--from", DAYS[1], "--to", DAYS[3])

    ended = rerank_here(*command, *quick_service.options, "--json")

    assert ended.code == 0, ended.err
    assert partitions(ended.facts, "partition") == [f"dt={day}" for day in DAYS[1:4]]
    assert partitions(ended.facts, "state") == ["done"] * 3
    assert not (root / f"dt={DAYS[0]}").exists()
    for day in DAYS[1:4]:
        alone = tmp_path / "alone" / day
        run = ("run", source / f"dt={day}", alone, "--score-store", root / "_scores")
        assert rerank_here(*run, *quick_service.options).code == 0
        assert results(alone) == results(root / f"dt={day}")


def test_groups_that_a_neighbouring_day_has_too_are_free(
    source: Path, root: Path, quick_service: Service
) -> None:
    facts = rerank_here("backfill", source, root, *ALL, *quick_service.options, "--json").facts

    assert facts["requests"] == 4 * 8
    assert facts["requests_reused"] == 8


def test_the_same_command_again_sends_nothing(
    source: Path, root: Path, quick_service: Service
) -> None:
    command = ("backfill", source, root, *ALL, *quick_service.options, "--json")
    assert rerank_here(*command).code == 0

    again = rerank_here(*command)

    assert (again.code, again.facts["requests"], again.facts["requests_reused"]) == (0, 0, 0)
    assert partitions(again.facts, "state") == ["done"] * 5


def test_the_newest_partition_may_come_first(
    source: Path, root: Path, quick_service: Service
) -> None:
    command = ("backfill", source, root, *ALL, "--order", "newest", *quick_service.options)

    facts = rerank_here(*command, "--json").facts

    assert partitions(facts, "partition") == [f"dt={day}" for day in reversed(DAYS)]


def test_a_partition_that_fails_does_not_stop_the_others(
    source: Path, root: Path, quick_service: Service
) -> None:
    (source / f"dt={DAYS[1]}" / "a.parquet").write_bytes(b"no Parquet")
    shutil.rmtree(source / f"dt={DAYS[2]}")
    (source / f"dt={DAYS[2]}").mkdir()

    ended = rerank_here("backfill", source, root, *ALL, *quick_service.options, "--json")

    assert ended.code == 3
    assert partitions(ended.facts, "state") == ["done", "failed", "failed", "done", "done"]
    assert partitions(ended.facts, "exit_code") == [0, 3, 3, 0, 0]
    assert DAYS[1] in ended.failure


def test_a_changed_partition_is_refused_by_name_and_redone_with_restart(
    source: Path, root: Path, quick_service: Service
) -> None:
    command = ("backfill", source, root, *ALL, *quick_service.options, "--json")
    assert rerank_here(*command).code == 0
    groups([2], source / f"dt={DAYS[3]}" / "a.parquet")

    refused = rerank_here(*command)
    redone = rerank_here(*command, "--restart")

    assert refused.code == 5
    assert f"dt={DAYS[3]}" in refused.failure
    assert partitions(refused.facts, "exit_code") == [0, 0, 0, 5, 0]
    assert redone.code == 0, redone.err
    assert partitions(redone.facts, "requests") == [0, 0, 0, 1, 0]
    assert partitions(redone.facts, "candidates") == [24, 24, 24, 2, 24]


def test_an_error_of_the_service_ends_all(source: Path, root: Path) -> None:
    with service("--api-key", "another") as guarded:
        ended = rerank_here("backfill", source, root, *ALL, *guarded.options, "--json")

        assert ended.code == 4
        states = partitions(ended.facts, "state")
        assert states[:2] == ["failed", "failed"]
        assert set(states[2:]) <= {"waiting", "failed"}
        assert guarded.requests() < 30


def test_the_allowed_cost_is_that_of_the_whole_root_over_all_runs(source: Path, root: Path) -> None:
    with service() as quick:
        command = ("backfill", source, root, *ALL, *quick.options, "--json")
        whole = rerank_here(*command).facts["cost_usd"]
        shutil.rmtree(root)
        limited = (*command, "--max-cost", f"{2 * whole:.9f}", "--max-in-flight", "1")
        first, second = rerank_here(*limited), rerank_here(*limited)

    spent = [ended.facts["cost_usd"] for ended in (first, second)]
    if first.code == 0:  # a request's bound is far above its cost: allow for it
        assert spent[0] <= 2 * whole
    else:
        assert {first.code, second.code} <= {0, 9}
        assert sum(spent) <= 2 * whole


def test_a_limit_that_an_earlier_run_has_used_up_sends_nothing(
    source: Path, root: Path, quick_service: Service
) -> None:
    command = ("backfill", source, root, *quick_service.options, "--json")
    first = rerank_here(*command, "--from", DAYS[0], "--to", DAYS[1])
    spent = first.facts["cost_usd"]

    limited = rerank_here(*command, *ALL, "--max-cost", f"{spent:.9f}")

    assert limited.code == 9
    assert limited.facts["requests"] == 0
    assert partitions(limited.facts, "state")[:2] == ["done", "done"]


def test_a_dry_run_shows_the_whole_range_and_changes_nothing(
    source: Path, root: Path, quick_service: Service
) -> None:
    command = ("backfill", source, root, *ALL, "--dry-run")

    before = rerank_here(*command, "--json").facts
    shown = rerank_here(*command).out

    assert not root.exists()
    assert (before["requests"], before["groups"]) == (40, 40)
    assert partitions(before, "state") == ["new"] * 5
    assert f"dt={DAYS[2]}" in shown
    assert "minutes" in shown

    run = ("backfill", source, root, "--from", DAYS[0], "--to", DAYS[1])
    assert rerank_here(*run, *quick_service.options).code == 0
    after = rerank_here(*command, "--provider", "emulator", "--json").facts
    assert partitions(after, "state") == ["done", "done", "new", "new", "new"]
    assert after["requests"] == 24


def test_status_tells_a_backfill(source: Path, root: Path, quick_service: Service) -> None:
    (source / f"dt={DAYS[4]}" / "a.parquet").write_bytes(b"no Parquet")
    rerank_here("backfill", source, root, *ALL, *quick_service.options)

    facts = rerank_here("status", root, "--json").facts
    shown = rerank_here("status", root).out

    assert (facts["state"], facts["partitions_done"]) == ("failed", 4)
    assert partitions(facts, "state") == ["done"] * 4 + ["waiting"]
    assert facts["requests"] == 24
    assert f"dt={DAYS[4]}" in shown
    assert "Parquet" in shown


def test_killed_at_any_moment_the_same_command_goes_on_with_the_same_bytes(
    tmp_path: Path,
) -> None:
    source = lake(tmp_path / "in", num_groups=60)
    with service("--latency-ms", "10") as slow:
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        options = (*ALL, *slow.options, "--groups-per-part", "20", "--no-progress")
        assert rerank("backfill", source, whole, *options).code == 0
        answered = slow.answers()
        for share in (1, 3):
            before = slow.answers()
            process = start("backfill", source, cut, *options)
            wait_until(lambda: slow.answers() > before + share * 30)  # noqa: B023
            killed(process)
        state = rerank_here("status", cut, "--json").facts["state"]
        ended = rerank("backfill", source, cut, *options, "--json")
        paid = slow.answers() - answered

    assert state == "interrupted"
    assert ended.code == 0, ended.err
    for day in DAYS:
        assert results(cut / f"dt={day}") == results(whole / f"dt={day}")
    assert paid <= 240 + 2 * 128  # what was in flight at each kill


def test_a_signal_stops_all_partitions_in_order(tmp_path: Path) -> None:
    source = lake(tmp_path / "in", num_groups=60)
    with service("--latency-ms", "100") as slow:
        options = (*ALL, *slow.options, "--max-in-flight", "4", "--no-progress", "--json")
        process = start("backfill", source, tmp_path / "out", *options)
        wait_until(lambda: slow.answers() > 10)
        process.terminate()
        ended = end(process)

        assert ended.code == 143
        assert set(partitions(json.loads(ended.out), "state")) <= {"interrupted", "waiting"}
        assert slow.answers() == ended.facts["requests"]


def test_one_backfill_holds_a_root(tmp_path: Path) -> None:
    source = lake(tmp_path / "in", num_groups=60)
    with service("--latency-ms", "100") as slow:
        options = (*ALL, *slow.options, "--max-in-flight", "2", "--no-progress")
        process = start("backfill", source, tmp_path / "out", *options)
        wait_until(lambda: slow.answers() > 2)
        second = rerank("backfill", source, tmp_path / "out", *options)
        state = rerank_here("status", tmp_path / "out", "--json").facts["state"]
        killed(process)

    assert (second.code, state) == (6, "running")


def test_small_partitions_overlap_as_far_as_a_slow_service_asks_for(tmp_path: Path) -> None:
    days = [f"2026-11-{day:02d}" for day in range(1, 9)]
    source = lake(tmp_path / "in", days, num_groups=3)
    with service("--latency-ms", "3000") as slow:
        bounds = ("--from", days[0], "--to", days[-1])
        ended = rerank("backfill", source, tmp_path / "out", *bounds, *slow.options)

        assert ended.code == 0, ended.err
        assert slow.stats()["max_in_flight"] > 2 * 3


def test_an_operator_changes_the_pace_of_a_backfill_in_its_root(tmp_path: Path) -> None:
    source = lake(tmp_path / "in", num_groups=60)
    root = tmp_path / "out"
    root.mkdir()
    (root / "_pace.json").write_text('{"requests_per_minute": 0}')
    with service() as quick:
        process = start("backfill", source, root, *ALL, *quick.options, "--no-progress")
        lines: list[str] = []
        assert process.stderr is not None
        while not any("pace.paused" in line for line in lines):
            lines.append(process.stderr.readline())
        (root / "_pace.json").unlink()
        assert end(process).code == 0


@pytest.mark.parametrize("name", ["out", "in"])
def test_a_root_that_is_an_output_or_the_input_is_refused(
    name: str, source: Path, tmp_path: Path, quick_service: Service
) -> None:
    run = ("run", source / f"dt={DAYS[0]}", tmp_path / "out", *quick_service.options)
    assert rerank_here(*run).code == 0

    ended = rerank_here("backfill", source, tmp_path / name, *ALL, *quick_service.options)

    assert ended.code == {"out": 5, "in": 2}[name]


def test_the_table_at_the_end_has_a_row_a_partition(
    source: Path, root: Path, quick_service: Service
) -> None:
    lines = rerank_here("backfill", source, root, *ALL, *quick_service.options).out.splitlines()

    assert lines[0].split() == [
        *("partition", "state", "queries", "candidates", "requests", "reused", "cost")
    ]
    assert [line.split()[0] for line in lines[1:]] == [*(f"dt={day}" for day in DAYS), "all"]
    assert "5 of 5 done" in lines[-1]


def test_a_backfill_is_exported_and_loaded_with_its_key(
    source: Path, root: Path, tmp_path: Path, quick_service: Service
) -> None:
    duckdb = pytest.importorskip("duckdb")
    command = ("backfill", source, root, *quick_service.options)
    assert rerank_here(*command, *ALL).code == 0

    bulk = ("export", root, tmp_path / "b.ndjson", "--format", "es-bulk", "--index", "i")
    assert rerank_here(*bulk).code == 0
    assert rerank_here("load", root, "--to", f"duckdb:///{tmp_path}/x.duckdb").code == 0

    heads = [json.loads(line) for line in (tmp_path / "b.ndjson").read_text().splitlines()[::2]]
    ids = [head["index"]["_id"] for head in heads]
    assert ids[:2] == [f"{DAYS[0]}:q0", f"{DAYS[0]}:q1"]
    assert len(set(ids)) == 5 * 8
    with duckdb.connect(f"{tmp_path}/x.duckdb", read_only=True) as connection:
        rows = connection.execute(
            "SELECT count(*), count(DISTINCT (dt, query_id, doc_id)), typeof(any_value(dt))"
            " FROM reranked"
        ).fetchall()
    assert rows == [(120, 120, "DATE")]
    assert rerank_here("export", root, tmp_path / "r.trec").code == 2


def test_a_backfill_that_is_not_finished_needs_partial(
    source: Path, root: Path, tmp_path: Path, quick_service: Service
) -> None:
    (source / f"dt={DAYS[4]}" / "a.parquet").write_bytes(b"no Parquet")
    rerank_here("backfill", source, root, *ALL, *quick_service.options)

    refused = rerank_here("export", root, tmp_path / "r.jsonl")
    taken = rerank_here("export", root, tmp_path / "r.jsonl", "--partial", "--json")

    assert refused.code == 3
    assert f"dt={DAYS[4]}" in refused.failure
    assert (taken.code, taken.facts["queries"]) == (0, 32)
