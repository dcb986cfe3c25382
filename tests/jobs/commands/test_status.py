"""`rerank status`: during a run, and after every kind of end."""

import json
import os
import pty
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.real_runs import Service, groups, killed, rerank_here, service, start, wait_until
from support.tables import write


def status(output: Path) -> dict[str, Any]:
    ended = rerank_here("status", output, "--json")
    assert ended.code == 0, ended.err
    return ended.facts


def state_code(output: Path) -> int:
    return rerank_here("status", output, "--exit-code").code


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


def test_candidates_that_duplicates_leave_out_are_not_waited_for(output: Path) -> None:
    given = repeated(output.parent / "in.parquet")
    with service("--latency-ms", 60_000) as slow:
        process = start(
            *("run", given, output, *slow.options, "--no-progress", "--duplicates", "first")
        )
        wait_until(lambda: has_started(output))
        counted = wait_until(lambda: (now := status(output))["groups"] and now, poll_s=0.1)
        killed(process)

    assert (counted["candidates"], counted["candidates_paid"]) == (4, 0)


@pytest.mark.parametrize("layout", ["long", "nested"])
def test_of_a_finished_output_all_candidates_are_those_that_were_ranked(
    layout: str, output: Path, quick_service: Service
) -> None:
    given = repeated(output.parent / "in.parquet", nested=layout == "nested")
    rerank_here("run", given, output, *quick_service.options, "--duplicates", "first")

    facts = status(output)

    assert (facts["candidates"], facts["candidates_done"], facts["percent"]) == (4, 4, 100)


def repeated(path: Path, *, nested: bool = False) -> Path:
    """Write two queries of three candidates each, of which two have the same doc_id."""
    texts = {f"text {number}": doc_id for number, doc_id in enumerate(("a", "b", "a"))}
    documents = [{"doc_id": doc_id, "text": text} for text, doc_id in texts.items()]
    queries = [{"query_id": query, "query": f"what is {query}"} for query in ("q0", "q1")]
    rows = [{**query, **document} for query in queries for document in documents]
    lists = [{**query, "documents": documents} for query in queries]
    return write(pa.Table.from_pylist(lists if nested else rows), path)


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
    assert facts["exit_code"] == 4
    assert str(facts["next"]).startswith("act on what the service refuses, then run the same")
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
    assert "last error" not in rerank_here("status", output).out


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
        "state          done, 100 % paid",
        "candidates     2 of 2 paid",
        "queries        1 of 1 ranked, 1 written",
        "parts          1 of 1 written",
    ]
    assert lines[5] == "sent           1 request in 1 run"
    assert lines[6].startswith("paid           ")
    assert lines[-1] == "next           nothing: read OUTPUT/*.parquet"


def test_the_record_of_a_run_holds_its_numbers(output: Path, quick_service: Service) -> None:
    given = groups([2], output.parent / "in.parquet")
    rerank_here("run", given, output, *quick_service.options)

    (file,) = (output / "_runs").glob("*.json")
    record = json.loads(file.read_text())

    expected = {"state": "done", "exit_code": 0, "error": None, "requests": 1, "groups_done": 1}
    assert expected.items() <= record.items()


def test_the_exit_code_tells_the_state_if_that_is_asked_for(output: Path) -> None:
    given = groups([2] * 6, output.parent / "in.parquet", texts={(1, 1): "a poison-pill"})
    codes = []
    with service("--latency-ms", 60_000) as slow:
        process = start("run", given, output, *slow.options, "--no-progress")
        wait_until(lambda: has_started(output))
        codes.append(state_code(output))
        killed(process)
    codes.append(state_code(output))
    with service("--fault", "arrearage") as broke:
        rerank_here("run", given, output, *broke.options)
    codes.append(state_code(output))
    with service("--fault", "poison") as poisoned:
        rerank_here("run", given, output, *poisoned.options)
        codes.append(state_code(output))
        rerank_here("run", given, output, *poisoned.options, "--max-rejects", 1)
        codes.append(state_code(output))

    assert codes == [20, 21, 22, 23, 0]


def test_what_is_paid_is_not_forgotten_when_a_run_is_continued(output: Path) -> None:
    """The run that continues begins at none, and reads what is paid from the store."""
    given = groups([2] * 10, output.parent / "in.parquet")
    with service("--fault", "arrearage@6") as broke:
        rerank_here("run", given, output, *broke.options, "--max-in-flight", 1)
    first = status(output)
    with service("--latency-ms", 60_000) as slow:
        process = start("run", given, output, *slow.options, "--no-progress")
        wait_until(lambda: status(output)["state"] == "running" and status(output)["runs"] == 2)
        going_on = status(output)
        killed(process)

    assert first["candidates_paid"] == 10
    assert first["percent"] == going_on["percent"] == 50.0
    assert going_on["requests"] == first["requests"] == 5


def test_a_run_that_goes_on_tells_its_speed_and_the_time_left(output: Path) -> None:
    given = groups([2] * 2_000, output.parent / "in.parquet")
    with service("--requests-per-minute", 1_200) as limited:
        options = (*limited.options, "--requests-per-minute", 1_200, "--no-progress")
        process = start("run", given, output, *options)
        facts = wait_until(
            lambda: has_started(output) and (now := status(output))["seconds_left"] and now,
            poll_s=0.2,
        )
        text = rerank_here("status", output).out
        killed(process)

    assert 0 < facts["requests_per_s"] <= 25
    assert 20 < facts["seconds_left"] < 2_000
    assert facts["limited_by"] in ("requests_per_minute", "source")
    assert " requests/s, " in text
    assert "next           wait, or watch it with --watch" in text


def test_a_killed_run_says_that_nothing_is_known_of_its_end(output: Path) -> None:
    given = groups([2] * 3, output.parent / "in.parquet")
    with service("--latency-ms", 60_000) as slow:
        process = start("run", given, output, *slow.options, "--no-progress")
        wait_until(lambda: has_started(output))
        killed(process)

    text = rerank_here("status", output).out

    assert "last error     none is recorded: the process was killed, or its machine stop" in text
    assert "next           run the same command again; it pays only for what is missing" in text


def test_what_to_do_next_in_shards_is_to_run_the_others_and_then_to_commit(
    output: Path, quick_service: Service
) -> None:
    given = groups([2] * 4, output.parent / "in.parquet")
    options = ("run", given, output, *quick_service.options, "--groups-per-part", 1)
    seen = []
    for command in (
        (*options, "--shard", "1/2"),
        (*options, "--shard", "2/2"),
        ("commit", output),
    ):
        assert rerank_here(*command).code == 0
        facts = status(output)
        seen.append((facts["state"], facts["shards_done"], facts["was_killed"], facts["next"]))

    assert seen == [
        (
            "interrupted",
            1,
            False,
            "run the shards that are missing, then finish with rerank commit",
        ),
        ("interrupted", 2, False, "finish it with rerank commit"),
        ("done", None, False, "nothing: read OUTPUT/*.parquet"),
    ]


def test_watching_ends_with_the_run(output: Path) -> None:
    given = groups([2] * 60, output.parent / "in.parquet")
    ours, theirs = pty.openpty()
    with service("--requests-per-minute", 1_200) as limited:
        options = (*limited.options, "--requests-per-minute", 1_200, "--no-progress")
        running = start("run", given, output, *options)
        wait_until(lambda: has_started(output))
        watching = start("status", output, "--watch", "--exit-code", stdout=theirs)
        as_json = start("status", output, "--watch", "--json")
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        os.close(ours)
        states = [json.loads(line)["state"] for line in as_json.communicate()[0].splitlines()]
        running.communicate()
        watching.communicate()

    assert (watching.returncode, as_json.returncode, running.returncode) == (0, 0, 0)
    assert shown.startswith(b"\x1b[?1049h"), "on the second screen"
    on_screen, _, after = shown.decode().partition("\x1b[?1049l")
    assert "state          running" in on_screen
    assert after.startswith("state          done")
    assert states[0] == "running"
    assert states[-1] == "done"


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the other end is closed
        return b""
