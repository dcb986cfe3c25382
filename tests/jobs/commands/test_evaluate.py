"""`rerank evaluate`: what it prints, writes and refuses."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.made_outputs import write_candidates, write_output
from support.real_runs import Ended, rerank_here

RANKINGS = {"q1": ["b", "c", "a"], "q2": ["a", "b"], "q3": ["a", "b", "c"], "q4": ["a"]}
SCORES = {"q1": [0.2, 0.1, 0.9], "q3": [0.1, 0.9, 0.5]}
QRELS = "q1 0 a 1\nq2 0 a 1\nq3 0 a 1\n"


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    return write_candidates(RANKINGS, tmp_path / "in.parquet")


@pytest.fixture
def made(candidates: Path, output: Path) -> Path:
    """Return an output: q1 improves from 1/3 to 1, q2 stays, q3 falls from 1 to 1/3."""
    return write_output(candidates, output, SCORES)


@pytest.fixture
def qrels(tmp_path: Path) -> Path:
    path = tmp_path / "qrels.txt"
    path.write_text(QRELS)
    return path


def evaluate(output: Path, qrels: Path, *options: object) -> Ended:
    return rerank_here("evaluate", output, "--qrels", qrels, *options)


def test_both_orders_are_measured_by_rank(made: Path, qrels: Path) -> None:
    ended = evaluate(made, qrels, "--measure", "RR@10", "--json")

    assert ended.code == 0, ended.err
    assert ended.facts == {
        "schema_version": 1,
        "queries": 3,
        "queries_missing": 0,
        "finished": True,
        "before_from": "output",
        "measures": {
            "RR@10": {
                "before": pytest.approx(7 / 9),
                "after": pytest.approx(7 / 9),
                "change": pytest.approx(0),
                "p_value": pytest.approx(1),
                "p_value_holm": pytest.approx(1),
                "improved": 1,
                "degraded": 1,
            }
        },
        "best": [change("q1", 1 / 3, 1)],
        "worst": [change("q3", 1, 1 / 3)],
        "notes": [],
    }


def change(query_id: str, before: float, after: float) -> dict[str, Any]:
    return {
        "query_id": query_id,
        "before": pytest.approx(before),
        "after": pytest.approx(after),
        "change": pytest.approx(after - before),
    }


def test_all_queries_come_by_falling_change(made: Path, qrels: Path) -> None:
    ended = evaluate(made, qrels, "--measure", "RR@10", "--json", "--all")

    assert ended.facts["all"] == [
        change("q1", 1 / 3, 1),
        change("q2", 1, 1),
        change("q3", 1, 1 / 3),
    ]


def test_people_are_shown_aligned_tables(made: Path, qrels: Path) -> None:
    ended = evaluate(made, qrels)

    assert ended.out.splitlines() == [
        "3 judged queries",
        "measure  before   after   change  p-value  p (Holm)  improved  degraded",
        "nDCG@10  0.8333  0.8333  +0.0000        1         1         1         1",
        "RR@10    0.7778  0.7778  +0.0000        1         1         1         1",
        "R@100    1.0000  1.0000  +0.0000        -         -         0         0",
        "",
        "improved in nDCG@10  before   after   change",
        "q1                   0.5000  1.0000  +0.5000",
        "",
        "degraded in nDCG@10  before   after   change",
        "q3                   1.0000  0.5000  -0.5000",
    ]


def test_people_may_see_all_queries(made: Path, qrels: Path) -> None:
    lines = evaluate(made, qrels, "--measure", "RR@10", "--all").out.splitlines()

    assert lines[3:] == [
        "",
        "queries by RR@10  before   after   change",
        "q1                0.3333  1.0000  +0.6667",
        "q2                1.0000  1.0000  +0.0000",
        "q3                1.0000  0.3333  -0.6667",
    ]


def test_only_the_queries_that_changed_most_are_named(tmp_path: Path) -> None:
    rankings = {f"q{number:02}": ["b", "a"] for number in range(9)}
    candidates = write_candidates(rankings, tmp_path / "in.parquet")
    made = write_output(candidates, tmp_path / "out", {q: [0.1, 0.9] for q in rankings})
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("".join(f"{query_id} 0 a 1\n" for query_id in rankings))

    facts = evaluate(made, qrels, "--json").facts

    assert [row["query_id"] for row in facts["best"]] == ["q00", "q01", "q02", "q03", "q04"]
    assert facts["worst"] == []
    assert facts["measures"]["nDCG@10"]["p_value"] is None  # the same change everywhere


def test_the_queries_that_changed_most_are_named_first_and_equal_changes_by_id(
    tmp_path: Path,
) -> None:
    """The relevant document `a` moves between the first place and another one."""
    gained = {"g3": 2, "g2": 4, "g1": 4, "g4": 3}  # by place before
    lost = {"l3": 2, "l2": 4, "l1": 5, "l4": 3}  # by place after
    others = list("bcdef")
    rankings = {q: [*others[: place - 1], "a", *others[place - 1 :]] for q, place in gained.items()}
    rankings |= {q: ["a", *others] for q in lost}
    scores = {q: [float(doc == "a") for doc in docs] for q, docs in rankings.items() if q in gained}
    scores |= {q: [0.95 - 0.1 * place, 0.9, 0.8, 0.7, 0.6, 0.5] for q, place in lost.items()}
    candidates = write_candidates(rankings, tmp_path / "in.parquet")
    made = write_output(candidates, tmp_path / "out", scores)
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("".join(f"{query_id} 0 a 1\n" for query_id in rankings))

    facts = evaluate(made, qrels, "--measure", "RR@10", "--json").facts

    assert [row["query_id"] for row in facts["best"]] == ["g1", "g2", "g4", "g3"]
    assert [row["query_id"] for row in facts["worst"]] == ["l1", "l2", "l4", "l3"]


def test_ids_of_any_script_are_aligned_and_no_control_character_is_shown(tmp_path: Path) -> None:
    names = ["日本語", "plain", "\x1b[31mred", "right\u202eleft", "x" * 100]
    candidates = write_candidates({name: ["b", "a"] for name in names}, tmp_path / "in.parquet")
    made = write_output(candidates, tmp_path / "out", {name: [0.1, 0.9] for name in names})
    qrels = tmp_path / "qrels.csv"
    table = pl.DataFrame({"query_id": names, "doc_id": ["a"] * 5, "relevance": [1] * 5})
    table.write_csv(qrels)

    lines = evaluate(made, qrels, "--measure", "RR", "--all").out.splitlines()[4:]

    assert "\x1b" not in "".join(lines)
    assert r"\x1b[31mred" in lines[1]
    assert r"right\u202eleft" in lines[3]
    assert lines[4].startswith("x" * 39 + "… ")
    assert len({len(line) + 3 * ("日" in line) for line in lines}) == 1  # 3 wide characters


def test_notes_stand_before_the_tables(made: Path, qrels: Path) -> None:
    qrels.write_text(QRELS + "q9 0 a 1\n")

    lines = evaluate(made, qrels).out.splitlines()

    assert lines[:2] == [
        "4 judged queries",
        "note: 1 judged query is not in the output and counts as an empty ranking",
    ]


def test_without_the_order_before_only_after_is_shown(
    candidates: Path, output: Path, qrels: Path
) -> None:
    write_output(candidates, output, SCORES, top_n=1)
    candidates.unlink()

    ended, facts = (
        evaluate(output, qrels, "--measure", "RR@10"),
        evaluate(output, qrels, "--json").facts,
    )

    assert ended.code == 0
    assert "note: before is not known: --top-n cut the output" in ended.out
    assert ended.out.splitlines()[-1].split() == ["RR@10", "-", "0.6667", "-", "-", "-", "-", "-"]
    assert facts["before_from"] is None
    assert facts["measures"]["RR@10"]["before"] is None
    assert facts["best"] == facts["worst"] == []


def test_the_input_of_a_cut_output_may_be_named(
    candidates: Path, output: Path, qrels: Path, tmp_path: Path
) -> None:
    write_output(candidates, output, SCORES, top_n=1)
    moved = candidates.rename(tmp_path / "moved.parquet")

    facts = evaluate(output, qrels, "--measure", "RR", "--json", "--input", moved).facts

    assert facts["before_from"] == "input"
    assert facts["measures"]["RR"]["before"] == pytest.approx(7 / 9)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".CSV"])
def test_the_values_of_every_query_are_written(
    suffix: str, made: Path, qrels: Path, tmp_path: Path
) -> None:
    file = tmp_path / "new" / f"values{suffix}"

    ended = evaluate(made, qrels, "--measure", "RR", "--measure", "AP", "--per-query", file)

    assert ended.code == 0, ended.err
    values = pl.read_parquet(file) if suffix == ".parquet" else pl.read_csv(file)
    assert values.columns == ["query_id", "measure", "before", "after", "change"]
    assert values["query_id"].to_list() == ["q1", "q2", "q3"] * 2
    assert values["measure"].to_list() == ["RR"] * 3 + ["AP"] * 3
    assert values["change"].to_list()[:3] == pytest.approx([2 / 3, 0, -2 / 3])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("values.txt", "unknown suffix"),
        ("values", "unknown suffix"),
        ("", "unknown suffix"),
        ("out/part-00000.parquet", "lies where the command reads"),
        ("out/values.csv", "lies where the command reads"),
        ("qrels.csv", "lies where the command reads"),
        ("folder.csv", "is a folder"),
        ("in.parquet/values.csv", "cannot be written"),
        ("foo://values.csv", "unknown kind of address"),
    ],
)
def test_values_are_not_written_where_they_would_do_harm(
    name: str, said: str, made: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()
    qrels = tmp_path / "qrels.csv"
    qrels.write_text("query_id,doc_id,relevance\nq1,a,1\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    file = name if not name or "://" in name else tmp_path / name

    ended = evaluate(made, qrels, "--per-query", file)

    assert ended.code == 2
    assert ended.failure.startswith(f"rerank: error: --per-query: {said}")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--fail-under", "nDCG@10=0"], 0),
        (["--fail-under", "nDCG@10=0.01"], 10),
        (["--fail-under", "RR@10=-0.1", "--fail-under", "AP=-0.1"], 0),
        (["--fail-under", "RR@10=-0.1", "--fail-under", "AP=0.1"], 10),
        (["--fail-if-worse"], 0),
    ],
)
def test_a_gate_has_an_exit_code_of_its_own(
    options: Sequence[str], code: int, made: Path, qrels: Path
) -> None:
    ended = evaluate(made, qrels, "--json", *options)

    assert ended.code == code
    assert ended.facts["gate"]["passed"] is (code == 0)
    assert ended.facts["measures"]["nDCG@10"]["after"] > 0


def test_a_gate_that_failed_is_one_line_with_name_found_and_expected(
    made: Path, qrels: Path
) -> None:
    ended = evaluate(made, qrels, "--fail-under", "MRR@10=0.5")

    assert ended.failure == (
        "rerank: error: RR@10: the gate failed (found +0.0000, expected a change of at least +0.5)"
    )


def test_a_significant_loss_fails_the_gate(tmp_path: Path) -> None:
    rankings = {f"q{number}": ["a", "b", "c"] for number in range(8)}
    candidates = write_candidates(rankings, tmp_path / "in.parquet")
    worse = {q: [0.1, 0.9, 0.5 if q < "q4" else 0.0] for q in rankings}
    made = write_output(candidates, tmp_path / "out", worse)
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("".join(f"{query_id} 0 a 1\n" for query_id in rankings))

    ended = evaluate(made, qrels, "--measure", "RR", "--fail-if-worse", "--json")

    assert ended.code == 10
    assert "RR: the gate failed (found -0.5833 with p = " in ended.failure
    assert ended.facts["gate"]["missed"][0]["name"] == "RR"


def test_nothing_unfinished_passes_a_gate(candidates: Path, output: Path, qrels: Path) -> None:
    write_output(candidates, output, SCORES, parts=1)

    judged, gated = evaluate(output, qrels), evaluate(output, qrels, "--fail-if-worse")

    assert judged.code == 0
    assert "note: the output is not finished" in judged.out
    assert gated.code == 3
    assert "a gate needs a finished output" in gated.failure


def test_nothing_passes_a_gate_without_the_order_before(
    candidates: Path, output: Path, qrels: Path
) -> None:
    write_output(candidates, output, SCORES, top_n=1)
    candidates.unlink()

    ended = evaluate(output, qrels, "--fail-under", "RR=0")

    assert ended.code == 3
    assert "a gate needs the order before: --top-n cut the output" in ended.failure


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--measure", "nDCG@0"], 2, "impossible cutoff"),
        (["--measure", "ndcg@10"], 2, "expected nDCG@10"),
        (["--measure", "ERR@20"], 2, "needs another program: perl"),
        (["--fail-under", "nDCG@10"], 2, "--fail-under: cannot be used"),
        (["--fail-under", "foo=1"], 2, "--fail-under: unknown measure"),
        (["--qrels", "none.txt"], 3, "none.txt: no such file or folder"),
        (["--qrels", "README.md"], 3, "README.md: unknown kind of file"),
        (["--qrels", "s4://bucket/x"], 3, "s4://bucket/x: unknown kind of address"),
        (["--input", "none.parquet"], 3, "none.parquet: no such file"),
        (["--qrels", ""], 3, "no file is named"),
    ],
)
def test_what_cannot_be_judged_is_one_line(
    options: Sequence[str], code: int, said: str, made: Path, qrels: Path
) -> None:
    ended = evaluate(made, qrels, *options)

    assert ended.code == code
    assert said in ended.failure
    assert ended.out == ""


@pytest.mark.parametrize("name", ["none", ".", "in.parquet", ""])
def test_what_is_no_output_is_one_line(
    name: str, candidates: Path, qrels: Path, tmp_path: Path
) -> None:
    ended = evaluate(tmp_path / name if name else Path(), qrels)

    assert ended.code == 3
    assert "name the OUTPUT of a run" in ended.failure


def test_judgements_that_the_system_does_not_give_are_one_line(made: Path, tmp_path: Path) -> None:
    loop = tmp_path / "qrels.txt"
    loop.symlink_to(loop)

    ended = evaluate(made, loop)

    assert ended.code == 3
    assert f"{loop}: cannot be read" in ended.failure


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_judgements_without_permission_are_one_line(made: Path, qrels: Path) -> None:
    qrels.chmod(0)

    ended = evaluate(made, qrels)

    assert ended.code == 3
    assert "Permission denied" in ended.failure


def test_without_ir_measures_the_install_line_is_told(
    made: Path, qrels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)

    ended = evaluate(made, qrels)

    assert ended.code == 2
    assert "pip install 'rerank-pipeline[evaluate]'" in ended.failure
