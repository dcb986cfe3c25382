"""Whole runs of the command against the emulator: the sample, options, bad input."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.real_runs import (
    HOSTILE,
    KEY,
    SAMPLE,
    Service,
    environment,
    groups,
    last_record,
    needs_hostile,
    ranked,
    rerank,
    rerank_here,
    results,
    rows_of,
    service,
    start,
    wait_until,
)
from support.tables import write

CANDIDATES = SAMPLE / "candidates.parquet"
RUN_KEYS = {
    *("schema_version", "state", "groups", "groups_done", "parts", "parts_done", "candidates"),
    *("rejected", "skipped", "requests", "requests_reused", "total_tokens", "cost_usd"),
    *("merge_status", "retries", "throttled", "quota_used", "bound_by", "latency_ms"),
}
PLAN_KEYS = {
    *("schema_version", "groups", "candidates", "requests", "requests_max", "tokens", "cost_usd"),
    *("minutes", "bound_by", "truncated_documents"),
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, quick_service: Service) -> Path:
    """Rerank the sample, and return the output."""
    output = tmp_path_factory.mktemp("sample") / "out"
    ended = rerank("run", CANDIDATES, output, *quick_service.options)
    assert (ended.code, ended.err.count("warning")) == (0, 0), ended.err
    return output


def test_every_candidate_of_the_sample_is_in_the_output_once(sample: Path) -> None:
    given = pq.read_table(CANDIDATES, columns=["query_id", "doc_id"]).to_pylist()
    rows = ranked(sample)

    assert sorted((row["query_id"], row["doc_id"]) for row in rows) == sorted(
        (row["query_id"], row["doc_id"]) for row in given
    )
    queries = list(dict.fromkeys(row["query_id"] for row in given))
    assert list(dict.fromkeys(row["query_id"] for row in rows)) == queries
    for query_id in queries:
        group = [row for row in rows if row["query_id"] == query_id]
        assert [row["rank"] for row in group] == list(range(1, len(group) + 1))
        scores = [row["relevance_score"] for row in group]
        scored = [score for score in scores if score is not None]
        assert scored == sorted(scored, reverse=True)
        assert None not in scores[: len(scored)]


def test_success_is_written_after_every_result(sample: Path) -> None:
    success = (sample / "_SUCCESS").stat()
    times = [(sample / name).stat().st_mtime_ns for name in results(sample)]

    assert success.st_size == 0
    assert max(times) <= success.st_mtime_ns


def test_candidates_without_text_are_skipped_and_recorded(sample: Path) -> None:
    skipped = rows_of(sample / "_rejects")

    assert {row["reason"] for row in skipped} == {"no_text"}
    without = [(r["query_id"], r["doc_id"]) for r in ranked(sample) if r["relevance_score"] is None]
    assert without == [(row["query_id"], row["doc_id"]) for row in skipped]


def test_a_second_run_sends_nothing(sample: Path, quick_service: Service) -> None:
    before, asked = results(sample), quick_service.requests()

    ended = rerank("run", CANDIDATES, sample, *quick_service.options, "--json")

    assert ended.code == 0
    assert ended.facts["requests"] == 0
    assert ended.facts["state"] == "done"
    assert quick_service.requests() == asked
    assert results(sample) == before


def test_reranking_improves_the_sample(sample: Path) -> None:
    ended = rerank("evaluate", sample, "--qrels", SAMPLE / "qrels.parquet", "--json")

    measured = ended.facts["measures"]["nDCG@10"]
    assert ended.code == 0
    assert measured["after"] > measured["before"] + 0.05
    assert measured["improved"] > measured["degraded"]


def test_a_second_run_sends_nothing_where_queries_take_several_requests(
    output: Path, quick_service: Service
) -> None:
    options = (*quick_service.options, "--max-documents", 25)
    first = rerank_here("run", CANDIDATES, output, *options, "--json")
    before, asked = results(output), quick_service.requests()
    again = rerank_here("run", CANDIDATES, output, *options, "--json")
    assert quick_service.requests() == asked

    anew = rerank_here("run", CANDIDATES, output, *options, "--json", "--restart")

    assert (first.code, again.code, anew.code) == (0, 0, 0)
    assert first.facts["requests"] > 2 * first.facts["groups"]
    assert first.facts["merge_status"].keys() - {"single_request"}
    assert again.facts["requests"] == anew.facts["requests"] == 0
    assert anew.facts["requests_reused"] >= first.facts["requests"]
    assert quick_service.requests() == asked
    assert results(output) == before


def test_results_go_to_stdout_and_logs_to_stderr(output: Path, quick_service: Service) -> None:
    given = groups([2] * 3, output.parent / "in.parquet")

    ended = rerank("run", given, output, *quick_service.options)

    lines = ended.out.splitlines()
    assert ended.code == 0
    assert lines[0].startswith("ranked  3 queries, 6 of 6 candidates scored")
    assert f"{output} (1 part)" in lines[-1]
    assert "run.ended state=done" in ended.err
    assert "\x1b" not in ended.out + ended.err


def test_the_report_fits_a_terminal(output: Path, quick_service: Service) -> None:
    ended = rerank_here("run", CANDIDATES, output, *quick_service.options)

    lines = [line for line in ended.out.splitlines() if not line.startswith("output")]
    assert max(map(len, lines)) <= 80, ended.out


def test_json_reports_have_the_promised_keys(output: Path, quick_service: Service) -> None:
    given = groups([2] * 3, output.parent / "in.parquet")

    planned = rerank_here("plan", given, *quick_service.options, "--json")
    ran = rerank_here("run", given, output, *quick_service.options, "--json")
    status = rerank_here("status", output, "--json")

    assert planned.facts.keys() >= PLAN_KEYS
    assert ran.facts.keys() >= RUN_KEYS
    assert ran.facts["latency_ms"].keys() == {"p50", "p95", "p99"}
    assert status.facts.keys() >= RUN_KEYS - {
        "merge_status",
        "quota_used",
        "bound_by",
        "latency_ms",
    }
    for facts in (ran.facts, status.facts):
        expected = {"groups": 3, "groups_done": 3, "parts": 1, "parts_done": 1, "candidates": 6}
        assert expected.items() <= facts.items()
    assert planned.facts["requests"] == ran.facts["requests"] == status.facts["requests"] == 3
    assert planned.facts["tokens"] == ran.facts["total_tokens"]


def test_json_logs_are_events_with_real_fields(output: Path) -> None:
    given = groups([2] * 20, output.parent / "in.parquet", texts={(7, 1): "a poison-pill"})
    faults = ("--fault", "503=0.3", "--fault", "429-rate=0.3", "--fault", "poison", "--seed", 3)
    with service(*faults) as unsteady:
        options = (*unsteady.options, "--log-format", "json")
        ended = rerank_here("run", given, output, *options)

    *events, failed = [json.loads(line) for line in ended.err.splitlines()]
    assert ended.code == 7
    names = {event["event"] for event in events}
    assert names >= {"request.retried", "pace.cut", "run.ended"}
    assert "log" not in names, "every record of ours is an event"
    for event in events:
        assert event.keys() > {"time", "level", "event", "logger"}
        packed = [value for value in event.values() if re.search(r"\w=\S+ \w+=", str(value))]
        assert packed == [], event
    assert (failed["level"], failed["event"], failed["exit_code"]) == ("error", "failed", 7)
    assert failed.keys() == {"time", "level", "event", "exit_code", "message", "kind"}


def test_the_provider_emulator_needs_no_key_and_no_address(output: Path) -> None:
    given = groups([3] * 10, output.parent / "in.parquet")

    ended = rerank("run", given, output, "--provider", "emulator", "--json")

    assert ended.code == 0
    assert ended.facts["requests"] == 10


def test_top_n_cuts_after_ranking(output: Path, quick_service: Service) -> None:
    given = groups([5, 1], output.parent / "in.parquet")
    whole = output.with_name("whole")
    rerank_here("run", given, whole, *quick_service.options)

    ended = rerank_here("run", given, output, *quick_service.options, "--top-n", 2)

    assert ended.code == 0
    assert ranked(output) == [row for row in ranked(whole) if row["rank"] <= 2]
    assert [row["num_candidates"] for row in rows_of(output / "_groups")] == [5, 1]


def test_with_text_writes_query_and_text(output: Path, quick_service: Service) -> None:
    given = groups([2], output.parent / "in.parquet")

    rerank_here("run", given, output, *quick_service.options, "--with-text")

    texts = {row["doc_id"]: row["text"] for row in pq.read_table(given).to_pylist()}
    assert {row["doc_id"]: row["text"] for row in ranked(output)} == texts
    assert {row["query"] for row in ranked(output)} == {"river river 0"}


def test_without_it_texts_are_not_written(output: Path, quick_service: Service) -> None:
    given = groups([2], output.parent / "in.parquet")

    rerank_here("run", given, output, *quick_service.options)

    expected = {"query_id", "doc_id", "rank", "relevance_score", "first_stage_rank", "note"}
    assert ranked(output)[0].keys() == expected


@needs_hostile
def test_columns_of_other_names_are_read(output: Path, quick_service: Service) -> None:
    columns = {"query_id": "qid", "query": "query_text", "doc_id": "pid", "text": "passage"}
    options = [f"--column={name}={source}" for name, source in columns.items()]

    refused = rerank_here(
        "run", HOSTILE / "17_other_column_names.parquet", output, *quick_service.options
    )
    ended = rerank_here(
        "run", HOSTILE / "17_other_column_names.parquet", output, *quick_service.options, *options
    )

    assert refused.code == 3
    assert "--column query_id=qid --column query=query_text" in refused.failure
    assert ended.code == 0
    assert len(ranked(output)) == 200


def test_an_instruction_is_sent_and_is_a_setting_of_the_output(
    output: Path, quick_service: Service
) -> None:
    given = groups([2] * 3, output.parent / "in.parquet")
    rerank_here("run", given, output, *quick_service.options)

    other = rerank_here("run", given, output, *quick_service.options, "--instruct", "Find tents.")
    anew = rerank_here(
        *("run", given, output, *quick_service.options, "--instruct", "Find tents."),
        *("--restart", "--json"),
    )

    assert other.code == 5
    assert "instruct: none there, Find tents. now" in other.failure
    assert anew.facts["requests"] == 3


@needs_hostile
@pytest.mark.parametrize("rows", ["11_zero_rows.parquet", "11c_no_row_groups.parquet"])
def test_no_rows_make_an_empty_output(rows: str, output: Path, quick_service: Service) -> None:
    ended = rerank_here("run", HOSTILE / rows, output, *quick_service.options, "--json")

    assert ended.code == 0, ended.err
    assert (output / "_SUCCESS").exists()
    assert ranked(output) == []
    assert pq.read_schema(output / "part-00000.parquet").field("rank").type == pa.int32()
    assert ended.facts["groups"] == ended.facts["requests"] == 0


def test_a_folder_without_files_is_exit_3(output: Path, quick_service: Service) -> None:
    (output.parent / "empty").mkdir()

    ended = rerank_here("run", output.parent / "empty", output, *quick_service.options)

    assert ended.code == 3
    assert "no Parquet files" in ended.failure
    assert not output.exists()


@needs_hostile
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("05_null_text_and_ids.parquet", "null "),
        ("07d_float64_ids.parquet", "wrong type (found double"),
        ("08e_nested_parallel_lists.parquet", "missing columns"),
        ("10d_invalid_utf8_binary.parquet", "not UTF-8 (found row 3"),
        ("10e_invalid_utf8_string.parquet", "not UTF-8 (found row 3"),
        ("11d_zero_bytes.parquet", "11d_zero_bytes.parquet: "),
        ("13b_interleaved.parquet", "rows of a query are not adjacent"),
        ("13c_group_returns.parquet", "rows of a query are not adjacent"),
        ("14c_mixed_schema", "has another type than in"),
        ("17c_missing_text_column.parquet", "missing columns ['text']"),
        ("17d_duplicate_column_name.parquet", "more than one column is called 'text'"),
        ("17e_wrong_types.parquet", "wrong type (found "),
        ("19_truncated.parquet", "19_truncated.parquet: "),
        ("19b_flipped_bytes.parquet", "19b_flipped_bytes.parquet: "),
        ("19c_not_parquet.parquet", "19c_not_parquet.parquet: "),
    ],
)
def test_bad_input_is_one_line_and_exit_3(
    name: str, message: str, output: Path, quick_service: Service
) -> None:
    ended = rerank_here("run", HOSTILE / name, output, *quick_service.options, "--no-progress")

    assert ended.code == 3, ended.err
    assert message in ended.failure
    assert name.partition(".")[0] in ended.failure
    assert ended.out == ""
    assert not (output / "_SUCCESS").exists()


@needs_hostile
@pytest.mark.parametrize(
    "name",
    [
        *("02_duplicate_doc_ids", "03_duplicate_texts", "07_int64_ids", "07b_int32_uint64_ids"),
        *("07e_numeric_looking_strings", "07f_odd_string_ids", "09_dictionary"),
        *("10b_string_view", "10c_binary_text", "12b_one_row_per_row_group", "16_singletons"),
        *("13d_rank_order_reversed", "17b_passthrough_and_collisions", "18c_version_1_0"),
        *("01b_weird_text_short", "06_long_query"),
    ],
)
def test_unusual_input_is_ranked_completely(
    name: str, output: Path, quick_service: Service
) -> None:
    given = HOSTILE / f"{name}.parquet"

    ended = rerank_here("run", given, output, *quick_service.options, "--json")

    assert ended.code == 0, ended.err
    ids = [(row["query_id"], row["doc_id"]) for row in ranked(output)]
    table = pq.read_table(given, columns=["query_id", "doc_id"])
    assert sorted(map(str, ids)) == sorted(
        str((row["query_id"], row["doc_id"])) for row in table.to_pylist()
    )


def test_a_wrong_key_ends_the_run_and_is_never_shown(output: Path) -> None:
    given = groups([2] * 3, output.parent / "in.parquet")
    with service("--api-key", "another-key") as strict:
        ended = rerank(
            *("run", given, output, *strict.options, "--api-key-env", "MY_KEY"),
            env=environment(MY_KEY=KEY),
        )

    assert ended.code == 4
    assert last_record(output)["exit_code"] == 4
    assert last_record(output)["state"] == "failed"
    assert KEY not in ended.err + ended.out
    assert not [file for file in output.rglob("*") if file.is_file() and KEY in _text(file)]


def _text(file: Path) -> str:
    return file.read_bytes().decode(errors="replace")


def test_an_unreachable_service_is_waited_for_and_then_given_up(output: Path) -> None:
    given = groups([2] * 3, output.parent / "in.parquet")
    address = ("--provider", "emulator", "--url", "http://127.0.0.1:9/")

    ended = rerank("run", given, output, *address, "--max-outage", 0.05, "--json")

    assert ended.code == 8
    assert "service.down code=unreachable message=127.0.0.1:9: connection refused" in ended.err
    assert "could not be reached for 3 s (found 127.0.0.1:9: connection refused)" in ended.failure
    assert ended.facts["state"] == "failed"
    assert ended.facts["requests"] == 0
    assert ended.facts["requests_sent"] == ended.facts["requests_failed"] > 3
    assert last_record(output)["exit_code"] == 8
    assert (
        rerank("status", output, "--json").facts["error"] == ended.failure.partition("error: ")[2]
    )


@pytest.mark.parametrize("where", ["the input", "below the input", "a file", "another's folder"])
def test_an_output_of_something_else_is_refused_and_left_unchanged(
    where: str, tmp_path: Path, quick_service: Service
) -> None:
    given = groups([2], tmp_path / "in" / "a.parquet").parent
    (tmp_path / "a-file").write_text("mine")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "data.csv").write_text("theirs")
    place, code = {
        "the input": (given, 5),
        "below the input": (given / "out", 2),
        "a file": (tmp_path / "a-file", 5),
        "another's folder": (tmp_path / "theirs", 5),
    }[where]
    before = sorted(tmp_path.rglob("*"))

    ended = rerank_here("run", given, place, *quick_service.options)

    assert ended.code == code
    assert ended.failure.count("\n") == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_that_cannot_be_written_is_exit_1(tmp_path: Path, quick_service: Service) -> None:
    given = groups([2], tmp_path / "in.parquet")

    ended = rerank_here("run", given, "/proc/nobody/out", *quick_service.options)

    assert ended.code == 1
    assert "/proc/nobody/out" in ended.failure


def test_a_full_disk_is_one_line_and_nothing_is_lost(
    tmp_path: Path, quick_service: Service
) -> None:
    """A limit on the size of files acts as a full disk: both refuse a write."""
    given = groups([40] * 20, tmp_path / "in.parquet")
    output = tmp_path / "out"
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))\n"
        "from jobs.cli import main\n"
        "sys.exit(main())\n"
    )
    options = (*quick_service.options, "--max-outage", "0.02")
    command = [sys.executable, "-c", code, "run", str(given), str(output), *options]

    full = subprocess.run(
        command, cwd=SAMPLE.parent, env=environment(), capture_output=True, text=True
    )

    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    failures = [line for line in full.stderr.splitlines() if "rerank: error" in line]
    assert len(failures) == 1
    assert "cannot be written" in failures[0]
    assert not (output / "_SUCCESS").exists()
    assert rerank_here("run", given, output, *quick_service.options).code == 0


def test_the_pace_can_be_changed_while_a_run_goes_on(
    tmp_path: Path, quick_service: Service
) -> None:
    given, output, log = (
        groups([1] * 400, tmp_path / "in.parquet"),
        tmp_path / "out",
        tmp_path / "log",
    )
    output.mkdir()
    (output / "_pace.json").write_text('{"requests_per_minute": 60}')
    with log.open("w") as stderr:
        options = ("--no-progress", "--json")
        process = start("run", given, output, *quick_service.options, *options, stderr=stderr)
        wait_until(lambda: "pace.changed requests_per_minute=60 " in log.read_text())
        (output / "_pace.json").write_text("{")
        wait_until(lambda: "pace.ignored" in log.read_text())
        assert process.poll() is None
        (output / "_pace.json").unlink()
        wait_until(lambda: "by=settings" in log.read_text())
        out, _ = process.communicate(timeout=30)

    facts = json.loads(out)
    assert process.returncode == 0
    assert facts["requests"] == 400
    assert log.read_text().count(" pace.") == 3


def test_an_error_far_down_the_input_is_reported_before_anything_is_paid(
    tmp_path: Path, quick_service: Service
) -> None:
    ids = [*range(2_000), 0]
    columns = {"query_id": ids, "query": ["a"] * len(ids), "doc_id": ids, "text": ["b"] * len(ids)}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet", row_group_size=100)
    before = quick_service.requests()

    ended = rerank("run", tmp_path / "in.parquet", tmp_path / "out", *quick_service.options)

    assert ended.code == 3
    assert "rows of a query are not adjacent" in ended.failure
    assert quick_service.requests() == before


def test_a_small_run_takes_little_cpu(tmp_path: Path, quick_service: Service) -> None:
    given = groups([3] * 10, tmp_path / "in.parquet")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert rerank("run", given, tmp_path / "out", *quick_service.options).code == 0

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert cpu_s < 1.5


def test_a_shared_store_pays_for_one_changed_document_only(
    tmp_path: Path, quick_service: Service
) -> None:
    """In one of 100 groups, with a store that is kept across outputs."""
    given = groups([3] * 100, tmp_path / "a.parquet")
    changed = groups([3] * 100, tmp_path / "b.parquet", texts={(57, 1): "another text"})
    options = (*quick_service.options, "--score-store", tmp_path / "store", "--json")

    first = rerank_here("run", given, tmp_path / "out-a", *options)
    second = rerank_here("run", changed, tmp_path / "out-b", *options)

    assert (first.code, second.code) == (0, 0)
    assert first.facts["requests"] == 100
    assert second.facts["requests"] == 1
    assert second.facts["requests_reused"] == 99
    assert not (tmp_path / "out-a" / "_scores").exists()


def test_the_cost_limit_is_never_exceeded_and_a_higher_one_continues(
    tmp_path: Path, quick_service: Service
) -> None:
    given, output = groups([3] * 40, tmp_path / "in.parquet"), tmp_path / "out"
    whole = rerank_here("plan", given, *quick_service.options, "--json").facts["cost_usd"]
    options = (*quick_service.options, "--json")

    stopped = rerank_here("run", given, output, *options, "--max-cost", f"{whole / 2:.9f}")
    ended = rerank_here("run", given, output, *options, "--max-cost", 1)

    assert stopped.code == 9
    assert "--max-cost" in stopped.failure
    assert stopped.facts["cost_usd"] <= whole / 2
    assert ended.code == 0
    assert stopped.facts["requests"] + ended.facts["requests"] == 40


def test_a_column_with_the_name_of_an_output_column_is_kept(
    tmp_path: Path, quick_service: Service
) -> None:
    given = write(
        pa.table(
            {
                "query_id": ["q", "q"],
                "query": ["tent", "tent"],
                "doc_id": [1, 2],
                "text": ["stove", "a tent"],
                "rank": ["x", "y"],
            }
        ),
        tmp_path / "in.parquet",
    )

    rerank_here("run", given, tmp_path / "out", *quick_service.options)

    rows = ranked(tmp_path / "out")
    assert [(row["doc_id"], row["rank"], row["input_rank"]) for row in rows] == [
        (2, 1, "y"),
        (1, 2, "x"),
    ]
