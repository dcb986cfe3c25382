"""`rerank compare`: what it prints, writes and refuses."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from support.made_outputs import write_candidates, write_output
from support.real_runs import rerank_here

RANKINGS = {"q1": ["a", "b", "c"], "q2": ["a", "b"], "q3": ["a", "b", "c"]}
OTHERS = {"q1": [0.1, 0.2, 0.9], "q2": [0.1, 0.9]}


@pytest.fixture
def outputs(tmp_path: Path) -> tuple[Path, Path]:
    """OUTPUT keeps the order of the input; OTHER reverses q1 and q2."""
    candidates = write_candidates(RANKINGS, tmp_path / "in.parquet")
    return (
        write_output(candidates, tmp_path / "one"),
        write_output(candidates, tmp_path / "two", OTHERS, groups_per_part=1),
    )


@pytest.fixture
def qrels(tmp_path: Path) -> Path:
    path = tmp_path / "qrels.txt"
    path.write_text("q1 0 a 1\nq2 0 a 1\nq3 0 a 1\nq9 0 a 1\n")
    return path


def test_judged_outputs_are_compared_measure_by_measure(
    outputs: tuple[Path, Path], qrels: Path
) -> None:
    ended = rerank_here("compare", *outputs, "--qrels", qrels, "--measure", "RR", "--json")

    assert ended.code == 0, ended.err
    facts = ended.facts
    assert (facts["queries"], facts["only_output"], facts["only_other"], facts["missing"]) == (
        3,
        0,
        0,
        1,
    )
    assert (facts["finished"], facts["other_finished"]) == (True, True)
    measure = facts["measures"]["RR"]
    assert (measure["before"], measure["after"]) == (pytest.approx(11 / 18), 1)
    assert (measure["improved"], measure["degraded"]) == (2, 0)
    assert [row["query_id"] for row in facts["best"]] == ["q1", "q2"]


def test_people_are_shown_which_is_which(outputs: tuple[Path, Path], qrels: Path) -> None:
    lines = rerank_here("compare", *outputs, "--qrels", qrels, "--measure", "RR").out.splitlines()

    assert lines[:3] == [
        "3 judged queries in both outputs, 1 in neither",
        "measure   OTHER  OUTPUT   change  p-value  p (Holm)  improved  degraded",
        "RR       0.6111  1.0000  +0.3889     0.19      0.19         2         0",
    ]
    assert lines[4].split() == ["improved", "in", "RR", "OTHER", "OUTPUT", "change"]


def test_without_judgements_rankings_are_compared(outputs: tuple[Path, Path]) -> None:
    facts = rerank_here("compare", *outputs, "--json", "--all").facts

    assert facts["agreement"]["overlap@10"] == {"mean": 1, "median": 1, "queries": 3}
    assert facts["agreement"]["tau"]["mean"] == pytest.approx(-1 / 3)
    assert [row["query_id"] for row in facts["most_changed"]] == ["q1", "q2"]
    assert [row["query_id"] for row in facts["all"]] == ["q1", "q2", "q3"]
    assert facts["all"][2] == {"query_id": "q3", "overlap@10": 1, "RBO": 1, "tau": 1}


def test_people_are_shown_agreement_in_tables(outputs: tuple[Path, Path]) -> None:
    lines = rerank_here("compare", *outputs).out.splitlines()

    assert lines[0] == "3 queries in both outputs"
    assert lines[1].split() == ["agreement", "mean", "median", "queries"]
    assert lines[2] == "overlap@10   1.0000   1.0000        3"
    assert lines[6].split() == ["changed", "most", "overlap@10", "RBO", "tau"]
    assert [line.split()[0] for line in lines[7:]] == ["q1", "q2"]


def test_equal_outputs_have_nothing_that_changed(outputs: tuple[Path, Path], qrels: Path) -> None:
    agreement = rerank_here("compare", outputs[0], outputs[0])
    judged = rerank_here("compare", outputs[0], outputs[0], "--qrels", qrels, "--fail-if-worse")

    assert (agreement.code, judged.code) == (0, 0)
    assert len(agreement.out.splitlines()) == 5
    assert len(judged.out.splitlines()) == 5


@pytest.mark.parametrize("judged", [False, True])
def test_the_values_of_every_query_are_written(
    judged: bool, outputs: tuple[Path, Path], qrels: Path, tmp_path: Path
) -> None:
    file = tmp_path / "values.parquet"
    options = ("--qrels", qrels, "--measure", "RR") if judged else ()

    ended = rerank_here("compare", *outputs, *options, "--per-query", file)

    assert ended.code == 0, ended.err
    of_judged = ["query_id", "measure", "before", "after", "change"]
    columns = of_judged if judged else ["query_id", "overlap@10", "RBO", "tau"]
    assert pl.read_parquet(file).columns == columns
    assert pl.read_parquet(file).height == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fail-under", "RBO=0.5"], None),
        (["--fail-under", "overlap@10=1", "--fail-under", "rbo=0.99"], "RBO: the gate failed"),
        (["--fail-under", "TAU=0"], "tau: the gate failed (found -0.3333, expected at least 0)"),
    ],
)
def test_agreement_has_a_gate(
    options: Sequence[str], said: str | None, outputs: tuple[Path, Path]
) -> None:
    ended = rerank_here("compare", *outputs, "--json", *options)

    assert ended.code == (0 if said is None else 10)
    assert ended.facts["gate"]["passed"] is (said is None)
    assert said is None or said in ended.failure


def test_measures_have_a_gate(outputs: tuple[Path, Path], qrels: Path) -> None:
    ended = rerank_here("compare", *reversed(outputs), "--qrels", qrels, "--fail-under", "RR=-0.1")

    assert ended.code == 10
    assert (
        "RR: the gate failed (found -0.3889, expected a change of at least -0.1)" in ended.failure
    )


def test_nothing_unfinished_passes_a_gate(outputs: tuple[Path, Path]) -> None:
    (outputs[1] / "_SUCCESS").unlink()

    shown = rerank_here("compare", *outputs)
    gated = rerank_here("compare", *outputs, "--fail-under", "RBO=0")

    assert shown.code == 0
    assert f"note: {outputs[1]} is not finished" in shown.out
    assert gated.code == 3
    assert str(outputs[1]) in gated.failure


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--measure", "RR"], "--measure: needs judgements; give --qrels FILE"),
        (["--fail-if-worse"], "--fail-if-worse: needs judgements; give --qrels FILE"),
        (["--fail-under", "nDCG@10=0"], "expected overlap@10 or RBO or tau"),
        (["--per-query", "x.txt"], "--per-query: unknown suffix"),
    ],
)
def test_options_that_need_judgements_are_refused_without_them(
    options: Sequence[str], said: str, outputs: tuple[Path, Path]
) -> None:
    ended = rerank_here("compare", *outputs, *options)

    assert ended.code == 2
    assert said in ended.failure


@pytest.mark.parametrize("name", ["none", "in.parquet"])
def test_what_is_no_output_is_one_line(
    name: str, outputs: tuple[Path, Path], tmp_path: Path
) -> None:
    ended = rerank_here("compare", outputs[0], tmp_path / name)

    assert ended.code == 3
    assert "name the OUTPUT of a run" in ended.failure


def test_outputs_of_other_queries_are_one_line(outputs: tuple[Path, Path], tmp_path: Path) -> None:
    candidates = write_candidates({"z": ["a"]}, tmp_path / "z.parquet")
    other = write_output(candidates, tmp_path / "three")

    ended = rerank_here("compare", outputs[0], other)

    assert ended.code == 3
    assert f"{outputs[0]}: no query in common with {other}" in ended.failure
