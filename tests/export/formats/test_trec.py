"""TREC runs, judged by ir-measures and by 32-bit floats."""

from pathlib import Path

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.made_outputs import write_candidates, write_output
from support.real_runs import rerank_here

QUERIES = {"q2": ["a", "b", "c"], "q1": ["b"], "q3": [f"d{number}" for number in range(40)]}


def export(output: Path, dest: Path, *options: object) -> list[list[str]]:
    """Export a run, and return the columns of its lines."""
    ended = rerank_here("export", output, dest, *options)
    assert ended.code == 0, ended.err
    return [line.split(" ") for line in dest.read_text().splitlines()]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Return an output whose query q3 has ties and scores that 32 bits cannot tell apart."""
    candidates = write_candidates(QUERIES, tmp_path / "in.parquet")
    close = [0.5 + 1e-12 * (place // 3) for place in range(40)]
    return write_output(candidates, tmp_path / "out", {"q2": [0.1, 0.3, 0.2], "q3": close})


def test_a_line_holds_query_document_rank_score_and_tag(made: Path, tmp_path: Path) -> None:
    lines = export(made, tmp_path / "run.trec", "--run-tag", "mine")

    assert lines[:4] == [
        ["q2", "Q0", "b", "1", "3", "mine"],
        ["q2", "Q0", "c", "2", "2", "mine"],
        ["q2", "Q0", "a", "3", "1", "mine"],
        ["q1", "Q0", "b", "1", "1", "mine"],
    ]


def test_ir_measures_reads_every_query_in_the_order_of_its_ranks(
    made: Path, tmp_path: Path
) -> None:
    lines = export(made, tmp_path / "run.trec")

    for query in QUERIES:
        ranked = [line[2] for line in lines if line[0] == query]
        for place, doc_id in enumerate(ranked, start=1):
            qrels = [ir_measures.Qrel(query, doc_id, 1)]
            run = list(ir_measures.read_trec_run(str(tmp_path / "run.trec")))
            value = ir_measures.calc_aggregate([ir_measures.RR], qrels, run)[ir_measures.RR]
            assert value == pytest.approx(1 / place)


def test_scores_fall_strictly_as_32_bit_floats(made: Path, tmp_path: Path) -> None:
    lines = export(made, tmp_path / "run.trec")

    for query in QUERIES:
        scores = np.array([line[4] for line in lines if line[0] == query], np.float32)
        assert (np.diff(scores) < 0).all()


def test_of_a_doc_id_that_comes_twice_the_best_place_is_kept_and_counted(tmp_path: Path) -> None:
    candidates = write_candidates({"q": ["a", "b", "a", "c"]}, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", {"q": [0.1, 0.4, 0.5, 0.3]})

    ended = rerank_here("export", output, tmp_path / "run.trec", "--json")

    assert (ended.facts["rows"], ended.facts["repeated"]) == (3, 1)
    lines = [line.split() for line in (tmp_path / "run.trec").read_text().splitlines()]
    assert [(line[2], line[3], line[4]) for line in lines] == [
        ("a", "1", "3"),
        ("b", "2", "2"),
        ("c", "3", "1"),
    ]


@pytest.mark.parametrize("bad", ["a b", "a\tb", "a\u3000b", "a\x1cb", "a\x00b", "", "a\u0085"])
def test_an_id_that_a_reader_would_cut_is_refused_with_its_query(bad: str, tmp_path: Path) -> None:
    candidates = write_candidates({"good": ["a"], "q7": ["x", bad]}, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out")

    ended = rerank_here("export", output, tmp_path / "run.trec")

    assert ended.code == 3
    assert "query 'q7'" in ended.failure
    assert "jsonl or parquet" in ended.failure
    assert not (tmp_path / "run.trec").exists()


@pytest.mark.parametrize("tag", ["two words", "", "tab\t"])
def test_a_run_tag_with_a_blank_is_refused(tag: str, made: Path, tmp_path: Path) -> None:
    assert rerank_here("export", made, tmp_path / "r.run", "--run-tag", tag).code == 2


def test_ids_that_are_integers_are_written_as_such(tmp_path: Path) -> None:
    candidates = write_candidates({7: [30, 4]}, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out")

    lines = export(output, tmp_path / "run.txt")

    assert [line[:3] for line in lines] == [["7", "Q0", "30"], ["7", "Q0", "4"]]


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8), parts=st.integers(1, 4))
def test_every_candidate_is_there_once_whatever_the_groups_and_parts(
    sizes: list[int], parts: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    queries = {f"q{n}": [f"d{n}-{k}" for k in range(size)] for n, size in enumerate(sizes)}
    candidates = write_candidates(queries, folder / "in.parquet")
    output = write_output(candidates, folder / "out", groups_per_part=parts)

    lines = export(output, folder / "run.trec")

    assert [(line[0], line[2], int(line[3])) for line in lines] == [
        (query, doc_id, place)
        for query, documents in queries.items()
        for place, doc_id in enumerate(documents, start=1)
    ]
