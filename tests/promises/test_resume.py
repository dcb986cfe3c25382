"""The same command again, after rejects, faults, other settings, another run; and secrets."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.real_runs import (
    KEY,
    Service,
    end,
    environment,
    groups,
    killed,
    last_record,
    ranked,
    rerank,
    rerank_here,
    results,
    rows_of,
    service,
    start,
    wait_until,
)

POISONED = {(3, 2): "a poison-pill", (7, 0): "one more poison-pill"}
SIZES = [4] * 12
MARKER = "TOPSECRETTEXT"


@pytest.fixture(scope="module")
def poisoned_service() -> Iterator[Service]:
    with service("--fault", "poison") as running:
        yield running


def test_a_poison_document_is_rejected_alone_and_repaired_once_it_passes(
    tmp_path: Path, poisoned_service: Service, quick_service: Service
) -> None:
    given, output = groups(SIZES, tmp_path / "in.parquet", texts=POISONED), tmp_path / "out"
    options = ("--groups-per-part", 2, "--json")

    first = rerank("run", given, output, *poisoned_service.options, *options)
    rejects, before = rows_of(output / "_rejects"), results(output)
    unscored = [row["doc_id"] for row in ranked(output) if row["relevance_score"] is None]
    marked = (output / "_SUCCESS").exists()
    again = rerank_here("run", given, output, *poisoned_service.options, *options)
    repaired = rerank_here("run", given, output, *quick_service.options, *options)
    whole = tmp_path / "whole"
    rerank_here("run", given, whole, *quick_service.options, *options)

    assert first.code == again.code == 7
    assert "_rejects: candidates without a score (found 2, expected at most 0)" in first.failure
    assert first.facts["state"] == "partial"
    assert first.facts["merge_status"] == {"single_request": 12}
    assert not marked
    assert unscored == ["d3-2", "d7-0"]
    assert [(row["query_id"], row["doc_id"], row["reason"], row["code"]) for row in rejects] == [
        ("q3", "d3-2", "refused_document", "DataInspectionFailed"),
        ("q7", "d7-0", "refused_document", "DataInspectionFailed"),
    ]
    assert all("inappropriate content" in row["message"] for row in rejects)
    assert again.facts["requests"] <= 6  # witnesses alone: nothing else is served
    assert results(whole).keys() - before.keys() == set()
    assert repaired.code == 0
    assert repaired.facts["requests"] == 2
    assert results(output) == results(whole)
    assert (output / "_SUCCESS").exists()


def test_rejects_within_what_is_allowed_are_exit_0(
    tmp_path: Path, poisoned_service: Service, quick_service: Service
) -> None:
    given, output = groups(SIZES, tmp_path / "in.parquet", texts=POISONED), tmp_path / "out"

    allowed = rerank_here("run", given, output, *poisoned_service.options, "--max-rejects", 2)
    asked = poisoned_service.requests()
    second = rerank_here("run", given, output, *poisoned_service.options, "--max-rejects", 2)
    assert poisoned_service.requests() == asked

    stricter = rerank_here("run", given, output, *quick_service.options, "--json")

    assert (allowed.code, second.code, stricter.code) == (0, 0, 0)
    assert stricter.facts["requests"] == 2, "an output with rejects is not done for a stricter run"
    assert stricter.facts["rejected"] == 0


def test_a_stricter_run_over_allowed_rejects_is_exit_7_again(
    tmp_path: Path, poisoned_service: Service
) -> None:
    given, output = groups(SIZES, tmp_path / "in.parquet", texts=POISONED), tmp_path / "out"
    rerank_here("run", given, output, *poisoned_service.options, "--max-rejects", 5)

    stricter = rerank_here("run", given, output, *poisoned_service.options)

    assert stricter.code == 7
    assert not (output / "_SUCCESS").exists()


FAULTS = (
    *("429-rate@3", "429-tokens@9", "503@14", "error-in-200@20", "megabyte-error@30"),
    *("missing-index=0.02", "repeated-index=0.02", "out-of-range-index=0.02", "nan=0.02"),
    *("null-score=0.02", "empty-results=0.02", "502-html=0.02", "html-in-200=0.02"),
    *("truncated-json=0.02",),
)
"""In addition to 15 % of 500, 503 and connections reset before or during the answer."""


def test_many_faults_lose_nothing_and_change_nothing(
    tmp_path: Path, quick_service: Service
) -> None:
    given = groups([3] * 60 + [12] * 12, tmp_path / "in.parquet")
    faults = [part for fault in FAULTS for part in ("--fault", fault)]
    options = ("--max-documents", 7, "--groups-per-part", 30, "--max-attempts", 12, "--json")
    calm = rerank_here("run", given, tmp_path / "calm", *quick_service.options, *options)

    with service("--fail-rate", 0.15, "--seed", 3, *faults) as stormy:
        ended = rerank("run", given, tmp_path / "out", *stormy.options, *options)
        statuses = stormy.stats()["by_status"]

    assert ended.code == 0, ended.err
    assert ended.facts["rejected"] == 0
    assert ended.facts["retries"] > 15
    assert ended.facts["throttled"] >= 2
    assert {"429", "500", "502", "503", "reset"} <= statuses.keys()
    assert ended.facts["requests"] == calm.facts["requests"]
    assert results(tmp_path / "out") == results(tmp_path / "calm")


def test_other_settings_are_refused_by_name_and_restart_discards_the_parts(
    tmp_path: Path, quick_service: Service
) -> None:
    given, output = groups([5] * 6, tmp_path / "in.parquet"), tmp_path / "out"
    rerank_here("run", given, output, *quick_service.options)
    before = results(output)
    other = ("run", given, output, *quick_service.options, "--top-n", 3, "--max-documents", 4)

    refused = rerank_here(*other)
    untouched = results(output) == before
    restarted = rerank_here(*other, "--restart", "--json")

    assert refused.code == 5
    for difference in ("max_documents: 500 there, 4 now", "top_n: none there, 3 now", "--restart"):
        assert difference in refused.failure
    assert untouched
    assert restarted.code == 0
    assert {row["rank"] for row in ranked(output)} == {1, 2, 3}


def test_restart_keeps_what_was_paid_for(tmp_path: Path, quick_service: Service) -> None:
    given, output = groups([5] * 6, tmp_path / "in.parquet"), tmp_path / "out"
    rerank_here("run", given, output, *quick_service.options)
    before = results(output)

    ended = rerank_here("run", given, output, *quick_service.options, "--restart", "--json")

    assert ended.facts["requests"] == 0
    assert ended.facts["requests_reused"] == 6
    assert results(output) == before


def test_another_input_is_refused_by_the_name_of_its_file(
    tmp_path: Path, quick_service: Service
) -> None:
    output = tmp_path / "out"
    rerank_here("run", groups([5], tmp_path / "in.parquet"), output, *quick_service.options)

    refused = rerank_here(
        "run", groups([5] * 2, tmp_path / "in.parquet"), output, *quick_service.options
    )

    assert refused.code == 5
    assert "input file in.parquet: 5 rows there, 10 now" in refused.failure


def test_pace_and_address_are_not_part_of_the_fingerprint(
    tmp_path: Path, quick_service: Service
) -> None:
    given, output = groups([5] * 6, tmp_path / "in.parquet"), tmp_path / "out"
    rerank_here("run", given, output, *quick_service.options)

    ended = rerank_here(
        *("run", given, output, "--provider", "emulator", "--url", "http://127.0.0.1:9/"),
        *("--max-in-flight", 3, "--requests-per-minute", 7, "--max-attempts", 2, "--max-cost", 3),
        *("--score-store", tmp_path / "another", "--json"),
    )

    assert ended.code == 0
    assert ended.facts["requests"] == 0


def test_a_second_run_on_a_busy_output_is_exit_6_and_a_dead_owner_frees_it(
    tmp_path: Path, quick_service: Service
) -> None:
    given, output = groups([2] * 5, tmp_path / "in.parquet"), tmp_path / "out"
    with service("--latency-ms", 60_000) as slow:
        owner = start("run", given, output, *slow.options, "--no-progress")
        wait_until(lambda: slow.stats()["in_flight"] == 5)
        busy = rerank("run", given, output, *quick_service.options)
        state = rerank_here("status", output, "--json").facts["state"]
        killed(owner)

        free = rerank("run", given, output, *quick_service.options)

    assert busy.code == 6
    assert f"another run holds this output (found process {owner.pid} on" in busy.failure
    assert "--lock-wait" in busy.failure
    assert state == "running"
    assert free.code == 0


@pytest.mark.parametrize("ending", ["done", "rejects", "refused", "interrupted"])
def test_neither_key_nor_text_appears_anywhere(ending: str, tmp_path: Path) -> None:
    """Neither in a file of the output, whatever its encoding, nor in what is printed."""
    texts = {(group, 0): f"{MARKER} {group}" for group in range(8)}
    texts[5, 1] = f"{MARKER} poison-pill"
    given, output = groups([3] * 8, tmp_path / "in.parquet", texts=texts), tmp_path / "out"
    faults = {
        "done": ("--fail-rate", 0.3),
        "rejects": ("--fault", "poison", "--fault", "500=0.2"),
        "refused": ("--fault", "arrearage@5"),
        "interrupted": ("--fault", "hang@6"),
    }[ending]
    code = {"done": 0, "rejects": 7, "refused": 4, "interrupted": 143}[ending]
    with service("--api-key", KEY, *faults) as strict:
        options = ("--api-key-env", "MY_KEY", "--log-format", "json", "--max-attempts", 9)
        process = start(
            *("run", given, output, *strict.options, *options), env=environment(MY_KEY=KEY)
        )
        if ending == "interrupted":
            wait_until(lambda: strict.requests() == 8)
            process.terminate()
        ended = end(process)

    assert ended.code == code, ended.err
    assert last_record(output)["exit_code"] == code
    shown = [ended.out, ended.err]
    for file in output.rglob("*"):
        if file.is_file():
            shown.append(file.read_bytes().decode("latin-1"))
        if file.suffix == ".parquet":
            shown.append(str(pq.read_table(file, partitioning=None).to_pydict()))
            shown.append(str(pq.read_schema(file).metadata))
    for secret in (KEY, MARKER, "poison-pill"):
        assert not [text for text in shown if secret in text], secret
