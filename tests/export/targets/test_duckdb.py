"""Loads into DuckDB: every row once, whatever is killed, repeated or changed."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from support.made_outputs import write_candidates, write_output
from support.real_runs import killed, rerank_here, start, wait_until

QUERIES = {"q2": ["a", "b", "c"], "q1": ["b"], "q3": ["x", "y"]}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    candidates = write_candidates(QUERIES, tmp_path / "in.parquet")
    return write_output(candidates, tmp_path / "out", {"q2": [0.1, 0.3, 0.2]}, groups_per_part=1)


def load(output: Path, file: Path, *options: object) -> dict[str, Any]:
    ended = rerank_here("load", output, "--to", f"duckdb:///{file}", "--json", *options)
    assert ended.code == 0, ended.err
    return ended.facts


def query(file: Path, statement: str) -> Sequence[tuple[Any, ...]]:
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.execute(statement).fetchall()


def test_every_row_is_in_the_table_once_with_the_types_of_the_output(
    made: Path, tmp_path: Path
) -> None:
    file = tmp_path / "x.duckdb"

    facts = load(made, file)

    assert (facts["rows"], facts["parts_loaded"], facts["parts_before"]) == (6, 3, 0)
    assert query(file, "SELECT query_id, doc_id, rank FROM reranked ORDER BY 1, 3") == [
        ("q1", "b", 1),
        *(("q2", doc_id, rank) for rank, doc_id in enumerate("bca", start=1)),
        *(("q3", doc_id, rank) for rank, doc_id in enumerate("xy", start=1)),
    ]
    types = {name: kind for name, kind, *_ in query(file, "DESCRIBE reranked")}
    assert types == {
        "query_id": "VARCHAR",
        "doc_id": "VARCHAR",
        "rank": "INTEGER",
        "relevance_score": "DOUBLE",
        "first_stage_rank": "INTEGER",
    }


def test_a_second_load_does_nothing_and_a_changed_part_is_loaded_again(
    made: Path, tmp_path: Path
) -> None:
    file = tmp_path / "x.duckdb"
    load(made, file)

    assert load(made, file)["parts_before"] == 3
    os.utime(made / "part-00001.parquet", (1, 1))
    facts = load(made, file)

    assert (facts["parts_before"], facts["parts_loaded"]) == (2, 1)
    assert query(file, "SELECT count(*) FROM reranked") == [(6,)]


@pytest.mark.parametrize(
    "statement", ["DROP TABLE reranked", "DELETE FROM reranked WHERE query_id = 'q2'"]
)
def test_a_table_that_lost_rows_is_loaded_anew(statement: str, made: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    load(made, file)
    with duckdb.connect(str(file)) as connection:
        connection.execute(statement)

    assert load(made, file)["parts_loaded"] == 3

    assert query(file, "SELECT count(*) FROM reranked") == [(6,)]


@pytest.mark.parametrize(("mode", "left"), [("upsert", 4), ("replace", 2)])
def test_replace_removes_the_rows_of_reloaded_queries_that_are_gone(
    mode: str, left: int, tmp_path: Path
) -> None:
    file = tmp_path / "x.duckdb"
    old = write_output(
        write_candidates({"q": ["a", "b", "c"], "other": ["z"]}, tmp_path / "old.parquet"),
        tmp_path / "old",
    )
    new = write_output(write_candidates({"q": ["a"]}, tmp_path / "new.parquet"), tmp_path / "new")
    load(old, file)

    load(new, file, "--mode", mode)

    assert query(file, "SELECT count(*) FROM reranked") == [(left,)]
    assert query(file, "SELECT doc_id FROM reranked WHERE query_id = 'other'") == [("z",)]


def test_of_a_doc_id_that_comes_twice_the_best_place_is_kept_and_counted(tmp_path: Path) -> None:
    candidates = write_candidates({"q": ["a", "b", "a"]}, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", {"q": [0.1, 0.4, 0.5]})

    facts = load(output, tmp_path / "x.duckdb")

    assert (facts["rows"], facts["repeated"]) == (2, 1)
    rows = query(tmp_path / "x.duckdb", "SELECT doc_id, rank FROM reranked ORDER BY rank")
    assert rows == [("a", 1), ("b", 2)]


def test_every_type_of_a_column_is_kept(tmp_path: Path) -> None:
    columns = {
        "big": pa.array([2**63 - 1]),
        "day": pa.array([date(2026, 11, 1)]),
        "moment": pa.array([datetime(2026, 11, 1, 2, 3, 4, 5, UTC)]),
        "price": pa.array([Decimal("1.50")]),
        "raw": pa.array([b"\x00\xff"]),
        "tags": pa.array([["a", None]]),
        "box": pa.array([{"n": 1, "s": "x"}]),
        'odd "name"': pa.array(["NULL"]),
    }
    candidates = write_candidates({"q": ["a"]}, tmp_path / "in.parquet", **columns)
    output = write_output(candidates, tmp_path / "out")

    load(output, tmp_path / "x.duckdb", "--table", "main.ranked")

    names = ", ".join(
        f'"{name.replace(chr(34), chr(34) * 2)}"' for name in columns if name != "moment"
    )
    (row,) = query(tmp_path / "x.duckdb", f"SELECT {names} FROM ranked")
    assert list(row) == [
        column.to_pylist()[0] for name, column in columns.items() if name != "moment"
    ]


def test_a_table_with_other_columns_is_refused_by_name(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute(
            "CREATE TABLE reranked (query_id VARCHAR, doc_id BIGINT,"
            " rank INT, relevance_score DOUBLE, first_stage_rank INT, extra INT)"
        )

    ended = rerank_here("load", made, "--to", f"duckdb:///{file}")

    assert ended.code == 5
    assert "doc_id is BIGINT there, VARCHAR here" in ended.failure
    assert "extra is INTEGER there, not in OUTPUT here" in ended.failure


def test_a_table_without_the_key_is_refused(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    load(made, file)
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE bare AS FROM reranked")

    ended = rerank_here("load", made, "--to", f"duckdb:///{file}", "--table", "bare")

    assert ended.code == 5
    assert "query_id, doc_id" in ended.failure


def test_a_file_that_is_no_database_is_refused(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    file.write_text("something else" * 1_000)

    assert rerank_here("load", made, "--to", f"duckdb:///{file}").code == 5
    assert file.read_text().startswith("something else")


def test_a_database_that_another_process_holds_is_told(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    code = f"import duckdb; c = duckdb.connect({str(file)!r}); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        ended = rerank_here("load", made, "--to", f"duckdb:///{file}")
        holder.kill()

    assert ended.code == 6


def test_an_output_without_rows_makes_an_empty_table(tmp_path: Path) -> None:
    table = write_candidates({}, tmp_path / "in.parquet")
    output = write_output(table, tmp_path / "out")

    load(output, tmp_path / "x.duckdb")

    assert query(tmp_path / "x.duckdb", "SELECT count(*) FROM reranked") == [(0,)]


def test_a_load_that_is_killed_goes_on_with_the_next_part(tmp_path: Path) -> None:
    queries = {f"q{n}": [f"d{k}" for k in range(50)] for n in range(4_000)}
    candidates = write_candidates(queries, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", groups_per_part=100)
    file = tmp_path / "x.duckdb"
    process = start("load", output, "--to", f"duckdb:///{file}")

    def loaded() -> int:
        records = list((output / "_loads").glob("duckdb-*.json"))
        return len(json.loads(records[0].read_text())["parts"]) if records else 0

    wait_until(lambda: loaded() > 5)
    killed(process)
    facts = load(output, file)

    assert facts["parts_before"] > 5
    assert facts["parts_loaded"] + facts["parts_before"] == 40
    rows = query(file, "SELECT count(*), count(DISTINCT (query_id, doc_id)) FROM reranked")
    assert rows == [(200_000, 200_000)]
