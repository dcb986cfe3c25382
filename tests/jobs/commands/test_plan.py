"""`rerank plan` says what a run would do."""

from pathlib import Path

import pyarrow as pa
from support.real_runs import rerank_here
from support.tables import candidates, write


def test_a_column_whose_types_differ_is_named_with_its_new_type(tmp_path: Path) -> None:
    for number, price in enumerate((pa.array([1.5], pa.float32()), pa.array([2.5]))):
        table = candidates([1], query_id=[f"q{number}"], price=price)
        write(table, tmp_path / f"{number}.parquet")

    ended = rerank_here("plan", tmp_path)

    assert ended.code == 0
    assert "'price' becomes double: its types differ in the files" in ended.out


def test_files_that_are_not_read_are_counted_and_named(tmp_path: Path) -> None:
    write(candidates(), tmp_path / "in.parquet")
    for number in range(5):
        (tmp_path / f"{number}.csv").touch()

    ended = rerank_here("plan", tmp_path)
    facts = rerank_here("plan", tmp_path, "--json").facts

    assert "5 other files not read: 0.csv, 1.csv, 2.csv, 3.csv, ...\n" in ended.out
    assert (facts["files"], facts["skipped_files"]) == (1, 5)
    assert facts["skipped_examples"] == ["0.csv", "1.csv", "2.csv", "3.csv"]


def test_an_estimate_by_another_tokenizer_is_said_to_be_one(tmp_path: Path) -> None:
    given = write(candidates(), tmp_path / "in.parquet")

    other = rerank_here("plan", given, "--model", "gte-rerank-v2").out
    own = rerank_here("plan", given).out

    assert "estimated: gte-rerank-v2 has its own tokenizer, 1.13 tokens for one of Qwen's" in other
    assert "about 0 documents, 0 queries" in other
    assert "about" not in own


def test_the_cost_is_said_to_be_without_final_requests_where_some_may_follow(
    tmp_path: Path,
) -> None:
    given = write(candidates([30]), tmp_path / "in.parquet")

    split = rerank_here("plan", given, "--max-documents", "20").out
    trusted = rerank_here("plan", given, "--max-documents", "20", "--merge", "trust").out
    whole = rerank_here("plan", given).out

    assert "with their final requests: 1 query takes several\n" in split
    assert ", without final requests\n" in split
    assert "final requests" not in trusted + whole
