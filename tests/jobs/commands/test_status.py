"""`rerank status`: during a run, and after every kind of end."""

import json
from pathlib import Path

import pytest
from support.real_runs import Service, groups, killed, rerank_here, service, start, wait_until


def status(output: Path) -> dict[str, object]:
    ended = rerank_here("status", output, "--json")
    assert ended.code == 0, ended.err
    return ended.facts


def has_started(output: Path) -> bool:
    return any((output / "_runs").glob("*.json"))


def test_a_run_is_running_until_it_is_killed_and_then_interrupted(output: Path) -> None:
    given = groups([2] * 10, output.parent / "in.parquet")
    with service("--latency-ms", 60_000) as slow:
        process = start("run", given, output, *slow.options, "--no-progress")
        wait_until(lambda: has_started(output))
        while_running = status(output)
        counted = wait_until(lambda: (now := status(output))["groups"] and now, poll_s=0.1)
        killed(process)

    assert while_running["state"] == "running"
    assert while_running["candidates"] == 20
    assert (counted["groups"], counted["groups_done"], counted["parts"]) == (10, 0, 1)
    assert status(output)["state"] == "interrupted"


def test_written_groups_and_parts_are_counted(output: Path, quick_service: Service) -> None:
    given = groups([2] * 10, output.parent / "in.parquet", texts={(3, 1): None})
    rerank_here("run", given, output, *quick_service.options, "--groups-per-part", 4)

    facts = status(output)

    expected = {"state": "done", "groups": 10, "groups_done": 10, "parts": 3, "parts_done": 3}
    expected |= {"candidates": 20, "rejected": 0, "skipped": 1, "requests": 10, "error": None}
    assert expected.items() <= facts.items()


def test_requests_of_all_runs_are_added_up(output: Path, quick_service: Service) -> None:
    given = groups([2] * 10, output.parent / "in.parquet")
    for _ in range(3):
        rerank_here("run", given, output, *quick_service.options, "--restart")

    facts = status(output)

    assert (facts["runs"], facts["requests"], facts["requests_reused"]) == (3, 10, 20)


def test_a_failed_run_shows_its_last_error(output: Path) -> None:
    given = groups([2] * 3, output.parent / "in.parquet")
    with service("--fault", "arrearage") as broke:
        ended = rerank_here("run", given, output, *broke.options)

    facts = status(output)

    assert ended.code == 4
    assert facts["state"] == "failed"
    assert str(facts["error"]) in ended.failure
    assert "last error" in rerank_here("status", output).out


def test_too_many_rejects_give_the_state_partial(output: Path) -> None:
    given = groups([2] * 3, output.parent / "in.parquet", texts={(1, 1): "a poison-pill"})
    with service("--fault", "poison") as poisoned:
        assert rerank_here("run", given, output, *poisoned.options).code == 7

    assert status(output)["state"] == "partial"


def test_an_output_without_success_is_not_done(output: Path, quick_service: Service) -> None:
    given = groups([2], output.parent / "in.parquet")
    rerank_here("run", given, output, *quick_service.options)
    (output / "_SUCCESS").unlink()

    assert status(output)["state"] == "interrupted"


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_record_is_ignored(content: str, output: Path, quick_service: Service) -> None:
    given = groups([2], output.parent / "in.parquet")
    rerank_here("run", given, output, *quick_service.options)
    (output / "_runs" / "99999999T000000.000000Z-000000.json").write_text(content)

    assert status(output)["state"] == "done"


def test_the_status_is_printed_as_aligned_lines(output: Path, quick_service: Service) -> None:
    given = groups([2], output.parent / "in.parquet")
    rerank_here("run", given, output, *quick_service.options)

    lines = rerank_here("status", output).out.splitlines()

    assert lines[:4] == [
        "state          done",
        "candidates     2 of 2 ranked",
        "queries        1 of 1 written",
        "parts          1 of 1 written",
    ]
    assert lines[5] == "sent           1 request in 1 run"
    assert lines[6].startswith("paid           ")


def test_the_record_of_a_run_holds_its_numbers(output: Path, quick_service: Service) -> None:
    given = groups([2], output.parent / "in.parquet")
    rerank_here("run", given, output, *quick_service.options)

    (file,) = (output / "_runs").glob("*.json")
    record = json.loads(file.read_text())

    expected = {"state": "done", "exit_code": 0, "error": None, "requests": 1, "groups_done": 1}
    assert expected.items() <= record.items()
