"""An output against judgements: what ir-measures says of both orders, computed independently."""

import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.ir_measures_alone import Row, best_ranks, values_of
from support.made_outputs import write_candidates, write_output
from support.real_runs import ROOT
from support.tables import write

from pipeline.core.errors import InputError
from pipeline.evaluation.evaluate import Evaluation, evaluate_output
from pipeline.evaluation.measures import parse_measures
from pipeline.output.reader import open_output

SHARED = ROOT.parent / "shared" / "data"
NAMES = ("nDCG@10", "RR@10", "R@100", "AP", "P@5", "nDCG", "Judged@10")
NUM_DOCS = 40


def judge(folder: Path, judged: Sequence[Row]) -> Path:
    lines = [f"{query_id} 0 {doc_id} {relevance}\n" for query_id, doc_id, relevance in judged]
    path = folder / "qrels.txt"
    path.write_text("".join(lines))
    return path


def evaluate(output: Path, qrels: Path, *names: str, **how: Any) -> Evaluation:
    measures = parse_measures(names or NAMES)
    return evaluate_output(open_output(str(output)), str(qrels), measures, **how)


def means(names: Sequence[str], rows: Sequence[Row], judged: Sequence[Row]) -> dict[str, float]:
    values = values_of(names, best_ranks(rows), judged)
    return {name: sum(of_name.values()) / len(of_name) for name, of_name in values.items()}


def ranks_of(files: Sequence[Path], column: str) -> list[Row]:
    """Return the ranks in Parquet files; without the column, the rows' places in their query."""
    rows: list[Row] = []
    place: dict[str, int] = {}
    for file in files:
        for row in pq.read_table(file, partitioning=None).to_pylist():
            query_id = str(row["query_id"])
            place[query_id] = place.get(query_id, 0) + 1
            rows.append((query_id, str(row["doc_id"]), row.get(column, place[query_id])))
    return rows


def assert_independent(
    found: Evaluation, candidates: Path, output: Path, judged: Sequence[Row]
) -> None:
    """Both orders are what ir-measures says of the input and of the output."""
    before = means(NAMES, ranks_of([candidates], "first_stage_rank"), judged)
    after = means(NAMES, ranks_of(sorted(output.glob("part-*.parquet")), "rank"), judged)
    assert {name: m.before for name, m in found.measures.items()} == pytest.approx(before)
    assert {name: m.after for name, m in found.measures.items()} == pytest.approx(after)


def made_world(
    folder: Path, *, repeats: bool = False, **settings: Any
) -> tuple[Path, Path, list[Row]]:
    """Return candidates, an output of random scores, and judgements."""
    chance = random.Random(7)
    rankings: dict[str, list[str]] = {}
    for number in range(30):
        docs = [f"d{chance.randrange(200)}" for _ in range(chance.randint(1, NUM_DOCS))]
        rankings[f"q{number}"] = docs if repeats else list(dict.fromkeys(docs))
    candidates = write_candidates(rankings, folder / "in.parquet")
    scores = {query_id: [chance.random() for _ in docs] for query_id, docs in rankings.items()}
    output = write_output(candidates, folder / "out", scores, groups_per_part=7, **settings)
    judged = [
        (f"q{number}", f"d{doc}", chance.randint(-1, 3))
        for number in range(33)
        for doc in chance.sample(range(200), 12)
    ]
    return candidates, output, judged


def test_both_orders_are_what_ir_measures_says(tmp_path: Path) -> None:
    candidates, output, judged = made_world(tmp_path)

    found = evaluate(output, judge(tmp_path, judged))

    assert_independent(found, candidates, output, judged)
    assert (found.queries, found.queries_missing) == (33, 3)
    assert found.before_from == "output"


def test_a_repeated_document_counts_once_at_its_best_place(tmp_path: Path) -> None:
    candidates, output, judged = made_world(tmp_path, repeats=True)

    found = evaluate(output, judge(tmp_path, judged))

    assert_independent(found, candidates, output, judged)
    assert any("a document of the query: each document counts once" in n for n in found.notes)


def test_the_worst_copy_of_a_document_does_not_turn_a_gain_into_a_loss(tmp_path: Path) -> None:
    candidates = write_candidates({"q": ["x", "y", "a", "a"]}, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", {"q": [0.5, 0.4, 0.9, 0.1]})

    found = evaluate(output, judge(tmp_path, [("q", "a", 1)]), "RR")

    assert found.measures["RR"].before == pytest.approx(1 / 3)
    assert found.measures["RR"].after == 1
    assert found.measures["RR"].improved == 1


@pytest.mark.parametrize("repeats", [False, True])
def test_with_top_n_the_order_before_is_that_of_the_whole_input(
    repeats: bool, tmp_path: Path
) -> None:
    candidates, output, judged = made_world(tmp_path, repeats=repeats, top_n=5)

    found = evaluate(output, judge(tmp_path, judged))

    assert_independent(found, candidates, output, judged)
    assert found.before_from == "input"
    assert f"before is the order of the whole input, {candidates}" in found.notes


def test_with_top_n_measures_that_look_deeper_are_named(tmp_path: Path) -> None:
    _, output, judged = made_world(tmp_path, top_n=5)

    found = evaluate(output, judge(tmp_path, judged), "P@5", "RR@10", "AP")

    assert f"{output} keeps 5 candidates a query: RR@10, AP look deeper" in found.notes


def test_the_input_is_not_needed_where_top_n_left_nothing_out(tmp_path: Path) -> None:
    candidates, output, judged = made_world(tmp_path, top_n=NUM_DOCS)
    after = ranks_of(sorted(output.glob("part-*.parquet")), "first_stage_rank")
    candidates.unlink()

    found = evaluate(output, judge(tmp_path, judged), "AP")

    assert found.before_from == "output"
    assert found.measures["AP"].before == pytest.approx(means(["AP"], after, judged)["AP"])


def test_with_top_n_and_no_input_there_is_no_before_but_a_reason(tmp_path: Path) -> None:
    candidates, output, judged = made_world(tmp_path, top_n=5)
    candidates.unlink()

    found = evaluate(output, judge(tmp_path, judged), "AP")

    measure = found.measures["AP"]
    assert measure.after > 0
    assert (measure.before, measure.change, measure.p_value, measure.improved) == (None,) * 4
    assert found.before_from is None
    assert f"{candidates}: no such file" in str(found.no_before)
    assert any(note.startswith("before is not known: --top-n cut") for note in found.notes)
    assert found.by_query["before"].is_null().all()


def test_the_input_may_have_moved(tmp_path: Path) -> None:
    candidates, output, judged = made_world(tmp_path, top_n=5)
    moved = tmp_path / "elsewhere" / "in.parquet"
    moved.parent.mkdir()
    candidates.rename(moved)

    found = evaluate(output, judge(tmp_path, judged), input_name=str(moved))

    assert_independent(found, moved, output, judged)


def test_an_input_that_has_changed_is_not_taken_for_it(tmp_path: Path) -> None:
    candidates, output, judged = made_world(tmp_path, top_n=5)
    write_candidates({"q1": ["d1"]}, candidates)
    qrels = judge(tmp_path, judged)

    assert evaluate(output, qrels).before_from is None
    with pytest.raises(InputError, match="not the input that the output was made from"):
        evaluate(output, qrels, input_name=str(candidates))


def test_renamed_columns_and_dropped_repeats_are_read_as_the_run_read_them(tmp_path: Path) -> None:
    table = pa.table(
        {
            "qid": [1, 1, 1, 1, 1],
            "query": ["q"] * 5,
            "pid": [7, 8, 9, 7, 6],
            "passage": ["a", "b", "c", "a", "d"],
            "place": pa.array([4, 2, 3, 1, 5], pa.int32()),
        }
    )
    candidates = write(table, tmp_path / "in.parquet")
    roles = {"query_id": "qid", "doc_id": "pid", "text": "passage", "first_stage_rank": "place"}
    output = write_output(
        candidates,
        tmp_path / "out",
        {1: [0.1, 0.2, 0.3, 0.4]},
        top_n=2,
        columns=roles,
        duplicates="first",
    )

    found = evaluate(output, judge(tmp_path, [("1", "7", 1)]), "RR")

    assert found.before_from == "input"
    assert found.measures["RR"].before == pytest.approx(1 / 3)  # its first row has rank 4
    assert found.measures["RR"].after == 0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("07b_int32_uint64_ids", {}),
        ("07c_negative_int64_ids", {}),
        ("07e_numeric_looking_strings", {}),
        ("02_duplicate_doc_ids", {}),
    ],
)
def test_hostile_ids_are_judged_exactly(
    name: str, values: Mapping[str, Any], tmp_path: Path
) -> None:
    candidates = SHARED / "hostile" / f"{name}.parquet"
    if not candidates.exists():
        pytest.skip("the shared data is not here")
    chance = random.Random(3)
    ids = sorted({row[:2] for row in ranks_of([candidates], "first_stage_rank")})
    rows = [{"query_id": q, "doc_id": d, "relevance": chance.randint(0, 2)} for q, d in ids]
    qrels = write(pa.Table.from_pylist(rows), tmp_path / "qrels.parquet")
    output = write_output(candidates, tmp_path / "out")

    found = evaluate(output, qrels)

    assert found.measures["Judged@10"].after == 1
    assert found.queries_missing == 0
    assert_independent(found, candidates, output, [tuple(row.values()) for row in rows])


def test_judged_queries_that_a_finished_output_lacks_count_as_empty(tmp_path: Path) -> None:
    candidates = write_candidates({"q1": ["a"]}, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out")

    found = evaluate(output, judge(tmp_path, [("q1", "a", 1), ("q2", "a", 1)]), "RR")

    assert (found.queries, found.queries_missing) == (2, 1)
    assert found.measures["RR"].after == 0.5
    assert found.notes == ["1 judged query is not in the output and counts as an empty ranking"]


def test_of_an_unfinished_output_only_what_it_holds_counts(tmp_path: Path) -> None:
    candidates = write_candidates({f"q{n}": ["a"] for n in range(6)}, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", parts=2)

    found = evaluate(output, judge(tmp_path, [(f"q{n}", "a", 1) for n in range(6)]), "RR")

    assert not found.is_finished
    assert (found.queries, found.queries_missing) == (4, 2)
    assert found.measures["RR"].after == 1
    assert any(
        "is not finished (no _SUCCESS, or a part is missing): only the judged" in n
        for n in found.notes
    )


def test_an_output_without_a_part_is_refused(tmp_path: Path) -> None:
    candidates = write_candidates({"q": ["a"]}, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", parts=0)

    with pytest.raises(InputError, match="holds no part that can be read"):
        evaluate(output, judge(tmp_path, [("q", "a", 1)]))


def test_an_output_of_no_rows_holds_no_judged_query(tmp_path: Path) -> None:
    table = pa.table(
        {name: pa.array([], pa.string()) for name in ("query_id", "query", "doc_id", "text")}
    )
    output = write_output(write(table, tmp_path / "in.parquet"), tmp_path / "out")

    with pytest.raises(InputError, match="judges none of the output's queries"):
        evaluate(output, judge(tmp_path, [("q", "a", 1)]))


@pytest.mark.parametrize(
    ("held", "judged", "said"),
    [
        ("7", "007", r"ids differ in zeros before them: '007' in the judgements, '7' in "),
        ("007", "7", r"ids differ in zeros before them"),
        ("q1", "Q1", r"ids differ in upper and lower case"),
        ("q1 ", "q1", r"ids differ in blanks around them"),
        ("7", "7.0", r"ids differ in decimals"),
        ("q1", "x1", r"found 'x1' in the judgements, expected query ids of "),
    ],
)
def test_judgements_of_no_query_are_refused_with_a_hint(
    held: str, judged: str, said: str, tmp_path: Path
) -> None:
    output = write_output(
        write_candidates({held: ["a"]}, tmp_path / "in.parquet"), tmp_path / "out"
    )

    with pytest.raises(InputError, match=f"judges none of the output's queries .*{said}"):
        evaluate(output, judge(tmp_path, [(judged, "a", 1)]))


def test_an_unfinished_output_that_holds_no_judged_query_is_told_as_such(tmp_path: Path) -> None:
    candidates = write_candidates({f"q{n}": ["a"] for n in range(4)}, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", parts=1)

    with pytest.raises(InputError, match="it is not finished: finish it first"):
        evaluate(output, judge(tmp_path, [("q3", "a", 1)]))


def test_documents_written_in_another_way_are_refused_with_a_hint(tmp_path: Path) -> None:
    output = write_output(
        write_candidates({"q": ["0a", "1"]}, tmp_path / "in.parquet"), tmp_path / "out"
    )

    with pytest.raises(InputError, match=r"none of the output's documents .*'001' in the judgem"):
        evaluate(output, judge(tmp_path, [("q", "001", 1)]))


def test_a_first_stage_that_found_nothing_relevant_is_told(tmp_path: Path) -> None:
    output = write_output(write_candidates({"q": ["a"]}, tmp_path / "in.parquet"), tmp_path / "out")

    found = evaluate(output, judge(tmp_path, [("q", "z", 1)]), "RR")

    assert found.measures["RR"].after == 0
    assert found.notes == ["no judged document is among the candidates"]


def test_missing_queries_are_told_with_a_hint_where_ids_look_alike(tmp_path: Path) -> None:
    rankings = {"q1": ["a"], "q2": ["a"]}
    output = write_output(write_candidates(rankings, tmp_path / "in.parquet"), tmp_path / "out")

    found = evaluate(output, judge(tmp_path, [("q1", "a", 1), ("Q2", "a", 1)]), "RR")

    assert found.notes[1].startswith("perhaps ids differ in upper and lower case: 'Q2'")


def test_two_queries_whose_ids_look_alike_are_no_mistake(tmp_path: Path) -> None:
    output = write_output(write_candidates({"7": ["a"]}, tmp_path / "in.parquet"), tmp_path / "out")

    found = evaluate(output, judge(tmp_path, [("7", "a", 1), ("007", "a", 1)]), "RR")

    assert len(found.notes) == 1


SETS = {
    "scifact": ("candidates.parquet", "qrels.parquet", 0.6804),
    "banking77_sim": ("candidates.parquet", "qrels.parquet", 0.6791),
    "xquad_r": ("candidates_xling_en.parquet", "qrels_xling_en.parquet", 0.8452),
}


@pytest.mark.parametrize("top_n", [None, 10])
@pytest.mark.parametrize("name", SETS)
def test_the_shared_sets_have_the_figures_that_ir_measures_gives(
    name: str, top_n: int | None, tmp_path: Path
) -> None:
    candidates, qrels, published = SETS[name]
    if not (SHARED / name / candidates).exists():
        pytest.skip("the shared data is not here")
    source = tmp_path / "in.parquet"
    shutil.copy(SHARED / name / candidates, source)
    ids = pq.read_table(source, columns=["query_id"])["query_id"].to_pylist()
    chance = random.Random(11)
    scores: dict[str, list[float]] = {}
    for query_id in ids:
        scores.setdefault(query_id, []).append(chance.random())
    output = write_output(source, tmp_path / "out", scores, groups_per_part=100, top_n=top_n)
    rows = pq.read_table(SHARED / name / qrels).to_pylist()

    found = evaluate(output, SHARED / name / qrels)

    judged = [(row["query_id"], row["doc_id"], row["relevance"]) for row in rows]
    assert round(found.measures["nDCG@10"].before or 0, 4) == published
    assert_independent(found, source, output, judged)


def test_chunks_of_shared_documents_count_as_their_documents(tmp_path: Path) -> None:
    """Several passages of a document are several candidates with its doc_id."""
    if not SHARED.exists():
        pytest.skip("the shared data is not here")
    table = pq.read_table(SHARED / "scifact" / "candidates.parquet")
    docs = [f"d{int(doc) % 40}" for doc in table["doc_id"].to_pylist()]
    table = table.set_column(table.schema.get_field_index("doc_id"), "doc_id", pa.array(docs))
    source = write(table, tmp_path / "in.parquet")
    chance = random.Random(5)
    scores: dict[str, list[float]] = {}
    for query_id in table["query_id"].to_pylist():
        scores.setdefault(query_id, []).append(chance.random())
    rows = pq.read_table(SHARED / "scifact" / "qrels.parquet").to_pylist()
    judged = {(row["query_id"], f"d{int(row['doc_id']) % 40}", 1) for row in rows}

    for top_n in (None, 20):
        output = write_output(
            source, tmp_path / f"out{top_n}", scores, groups_per_part=100, top_n=top_n
        )
        found = evaluate(output, judge(tmp_path, sorted(judged)))

        assert_independent(found, source, output, sorted(judged))
