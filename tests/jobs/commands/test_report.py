"""`rerank report`: where the page goes, and what is refused."""

from pathlib import Path

import pytest
from support.made_outputs import write_candidates, write_output
from support.real_runs import rerank_here

RANKINGS = {"q1": ["a", "b", "c"], "q2": ["a", "b"], "q3": ["a", "b", "c"]}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    candidates = write_candidates(RANKINGS, tmp_path / "in.parquet")
    return write_output(candidates, tmp_path / "out", {"q1": [0.1, 0.2, 0.9]})


def test_the_page_is_written_into_the_output(output: Path) -> None:
    ended = rerank_here("report", output)

    page = output / "_report.html"
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"report  {page} (")
    assert "8 candidates of 3 queries" in page.read_text()
    assert rerank_here("compare", output, output).code == 0, "readers do not mind the page"


def test_the_page_may_be_written_elsewhere_and_json_tells_where(
    output: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"

    facts = rerank_here("report", output, "-o", page, "--json").facts

    assert facts == {
        "schema_version": 1,
        "report": str(page),
        "size_bytes": page.stat().st_size,
    }
    assert not (output / "_report.html").exists()


def test_a_page_is_replaced_and_any_other_file_is_refused(output: Path, tmp_path: Path) -> None:
    page, other = tmp_path / "page.html", tmp_path / "other.html"
    other.write_text("<html>mine</html>")

    assert [rerank_here("report", output, "-o", page).code for _ in range(2)] == [0, 0]
    ended = rerank_here("report", output, "-o", other)

    assert ended.code == 5
    assert "other.html: exists, and is no report" in ended.failure
    assert other.read_text() == "<html>mine</html>"


def test_a_folder_is_no_file(output: Path, tmp_path: Path) -> None:
    ended = rerank_here("report", output, "-o", tmp_path)

    assert ended.code == 2
    assert "-o: is a folder" in ended.failure


def test_what_is_no_output_is_exit_3(tmp_path: Path) -> None:
    ended = rerank_here("report", tmp_path / "none")

    assert ended.code == 3
    assert not (tmp_path / "none").exists()


def test_judgements_and_another_output_are_taken(output: Path, tmp_path: Path) -> None:
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("q1 0 c 1\nq2 0 a 1\nq3 0 a 1\n")
    command = ("report", output, "--qrels", qrels, "--against", output)

    ended = rerank_here(*command, "--measure", "RR", "--input", tmp_path / "in.parquet")

    page = (output / "_report.html").read_text()
    assert ended.code == 0, ended.err
    assert "Gain of each query, sorted" in page
    assert "Measures of both" in page
    assert "text c" in page


def test_an_input_that_is_not_that_of_the_output_is_refused(output: Path, tmp_path: Path) -> None:
    other = write_candidates({"q9": ["z"]}, tmp_path / "other.parquet")

    ended = rerank_here("report", output, "--input", other)

    assert ended.code == 3
    assert "not the input that the output was made from" in ended.failure
