"""`rerank evaluate`: both orders are evaluated by rank, not by score."""

from pathlib import Path

import pyarrow as pa
import pytest
from support.real_runs import rerank_here
from support.tables import write

ORDERS = {
    "q1": [("a", 1, 3), ("b", 2, 1), ("c", 3, 2)],  # doc_id, rank after, rank before
    "q2": [("a", 1, 1), ("b", 2, 2)],
}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Write an output of two queries with equal scores, which trec_eval would sort by doc_id."""
    rows = [(q, d, after, before) for q, docs in ORDERS.items() for d, after, before in docs]
    table = pa.table(
        {
            "query_id": [row[0] for row in rows],
            "doc_id": [row[1] for row in rows],
            "rank": pa.array([row[2] for row in rows], pa.int32()),
            "relevance_score": [0.5] * len(rows),
            "first_stage_rank": pa.array([row[3] for row in rows], pa.int32()),
        }
    )
    write(table.slice(0, 3), tmp_path / "out" / "part-00000.parquet")
    write(table.slice(3), tmp_path / "out" / "part-00001.parquet")
    write(table.slice(0, 0), tmp_path / "out" / "_groups" / "part-00000.parquet")
    return tmp_path / "out"


def judge(folder: Path, *relevant: tuple[str, str]) -> Path:
    table = pa.table(
        {
            "query_id": [query_id for query_id, _ in relevant],
            "doc_id": [doc_id for _, doc_id in relevant],
            "relevance": pa.array([1] * len(relevant), pa.int32()),
        }
    )
    return write(table, folder / "qrels.parquet")


def test_both_orders_are_measured_by_rank(output: Path) -> None:
    qrels = judge(output.parent, ("q1", "a"), ("q2", "a"))

    ended = rerank_here("evaluate", output, "--qrels", qrels, "--measure", "RR@10", "--json")

    measured = ended.facts["measures"]["RR@10"]
    assert ended.code == 0, ended.err
    assert measured["before"] == pytest.approx((1 / 3 + 1) / 2)
    assert measured["after"] == 1
    assert (measured["improved"], measured["degraded"]) == (1, 0)
    assert ended.facts["best"] == [{"query_id": "q1", "before": pytest.approx(1 / 3), "after": 1}]
    assert ended.facts["worst"] == []


def test_a_judged_query_missing_from_the_output_counts_as_zero(output: Path) -> None:
    qrels = judge(output.parent, ("q1", "a"), ("q3", "a"))

    ended = rerank_here("evaluate", output, "--qrels", qrels, "--measure", "RR@10", "--json")

    assert ended.facts["queries"] == 2
    assert ended.facts["measures"]["RR@10"]["after"] == 0.5


def test_measures_are_printed_as_a_table(output: Path) -> None:
    qrels = judge(output.parent, ("q1", "a"), ("q2", "a"))

    lines = rerank_here("evaluate", output, "--qrels", qrels).out.splitlines()

    assert lines[0] == "2 judged queries"
    assert lines[1].split() == [
        *("measure", "before", "after", "change", "p-value", "improved", "degraded")
    ]
    assert [line.split()[0] for line in lines[2:5]] == ["nDCG@10", "RR@10", "R@100"]
    assert lines[5] == "best: q1 0.50 -> 1.00"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--measure", "nDCG@@"], 2, "--measure: unknown measure (found nDCG@@"),
        (["--qrels", "none.parquet"], 3, "none.parquet: no such file or folder"),
    ],
)
def test_an_unknown_measure_is_one_line(
    arguments: list[str], code: int, message: str, output: Path
) -> None:
    qrels = judge(output.parent, ("q1", "a"))

    ended = rerank_here("evaluate", output, "--qrels", qrels, *arguments)

    assert ended.code == code
    assert message in ended.failure


def test_judgements_of_other_queries_are_refused(output: Path) -> None:
    qrels = judge(output.parent, ("other", "a"))

    ended = rerank_here("evaluate", output, "--qrels", qrels)

    assert ended.code == 3
    assert "has judgements for none of the output's queries" in ended.failure


def test_qrels_that_are_not_parquet_are_refused(output: Path, tmp_path: Path) -> None:
    bad = tmp_path / "qrels.parquet"
    bad.write_text("q1 0 a 1")

    ended = rerank_here("evaluate", output, "--qrels", bad)

    assert ended.code == 3
    assert "cannot be read as Parquet" in ended.failure
