"""`rerank explain`: what it prints and refuses."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from support.real_runs import Service, groups, rerank_here, service
from support.tables import candidates, write


@pytest.fixture(scope="module")
def distorting() -> Iterator[Service]:
    with service("--score-distortion", "affine") as emulator:
        yield emulator


@pytest.fixture
def output(tmp_path: Path, distorting: Service) -> Path:
    """Return an output whose first query takes three requests."""
    given, output = groups([50, 3], tmp_path / "in.parquet"), tmp_path / "out"
    command = ("run", given, output, *distorting.options, "--max-documents", 25)
    assert rerank_here(*command, "--no-progress").code == 0
    return output


def test_people_see_a_table_of_the_candidates_and_what_was_asked(output: Path) -> None:
    ended = rerank_here("explain", output, "--query-id", "q0")

    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    header = next(line for line in lines if line.startswith("doc_id"))
    assert header.split() == [
        *("doc_id", "rank", "was", "moved", "score", "request", "score", "there", "final", "sure")
    ]
    assert any(line.startswith("request 1 ") for line in lines)
    assert lines[-1] == "and 20 candidates more: show them with --all"


def test_all_candidates_are_shown_on_request(output: Path) -> None:
    ended = rerank_here("explain", output, "--query-id", "q0", "--all")

    rows = [line for line in ended.out.splitlines() if line.startswith("d0-")]
    assert len(rows) == 50


def test_json_holds_all_candidates(output: Path) -> None:
    facts = rerank_here("explain", output, "--query-id", "q0", "--json").facts

    (found,) = facts["explanations"]
    assert (facts["schema_version"], facts["query_id"]) == (1, "q0")
    assert [one["rank"] for one in found["candidates"]] == list(range(1, 51))
    assert found["groups"]["num_requests"] == len(found["requests"])


def test_a_query_that_is_not_there_is_exit_3_with_the_ids_like_it(output: Path) -> None:
    ended = rerank_here("explain", output, "--query-id", "Q1")

    assert ended.code == 3
    assert ended.failure.endswith("holds no query 'Q1'; did you mean 'q1'?")


def test_no_control_character_of_an_id_or_text_reaches_the_terminal(
    tmp_path: Path, distorting: Service
) -> None:
    evil = "\x1b[31mred\u202e"
    table = candidates([2], doc_id=[evil, "b" * 500], query=pa.array([f"query {evil}"] * 2))
    given, output = write(table, tmp_path / "in.parquet"), tmp_path / "out"
    assert rerank_here("run", given, output, *distorting.options, "--no-progress").code == 0

    shown = rerank_here("explain", output, "--query-id", "q0").out

    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "b" * 41 not in shown
