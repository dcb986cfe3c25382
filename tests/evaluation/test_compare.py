"""Two outputs of the same queries."""

import random
from pathlib import Path

import pytest
from support.ir_measures_alone import Row, values_of
from support.made_outputs import write_candidates, write_output

from pipeline.core.errors import InputError
from pipeline.evaluation.compare import compare_judged, compare_unjudged
from pipeline.evaluation.evaluate import evaluate_output
from pipeline.evaluation.measures import parse_measures
from pipeline.output.reader import WrittenOutput, open_output

RANKINGS = {f"q{number:02}": [f"d{doc}" for doc in range(8)] for number in range(20)}
NAMES = ["nDCG@10", "RR@10"]


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    return write_candidates(RANKINGS, tmp_path / "in.parquet")


def scored(candidates: Path, folder: Path, seed: int, **how: int) -> WrittenOutput:
    """Write an output of random scores."""
    chance = random.Random(seed)
    scores = {query_id: [chance.random() for _ in docs] for query_id, docs in RANKINGS.items()}
    return open_output(str(write_output(candidates, folder, scores, **how)))


def judge(folder: Path, judged: list[Row]) -> str:
    path = folder / "qrels.txt"
    path.write_text(
        "".join(f"{query_id} 0 {doc_id} {grade}\n" for query_id, doc_id, grade in judged)
    )
    return str(path)


def some_judgements(seed: int = 0) -> list[Row]:
    chance = random.Random(seed)
    return [(query_id, f"d{chance.randrange(8)}", 1) for query_id in RANKINGS]


def rows(output: WrittenOutput) -> list[Row]:
    return [
        row
        for part in output.iter_parts(["query_id", "doc_id", "rank"])
        for row in part.iter_rows()
    ]


def test_a_change_is_output_less_other(candidates: Path, tmp_path: Path) -> None:
    one, two = (scored(candidates, tmp_path / name, seed) for seed, name in enumerate("ab"))
    judged = some_judgements()

    found = compare_judged(one, two, judge(tmp_path, judged), parse_measures(NAMES))

    for name in NAMES:
        after = list(values_of([name], rows(one), judged)[name].values())
        before = list(values_of([name], rows(two), judged)[name].values())
        measure = found.measures[name]
        assert measure.after == pytest.approx(sum(after) / 20)
        assert measure.before == pytest.approx(sum(before) / 20)
        assert measure.change == pytest.approx((sum(after) - sum(before)) / 20)


def test_the_figures_of_an_output_are_those_of_its_evaluation(
    candidates: Path, tmp_path: Path
) -> None:
    one, two = (scored(candidates, tmp_path / name, seed) for seed, name in enumerate("ab"))
    qrels, measures = judge(tmp_path, some_judgements()), parse_measures(NAMES)

    found = compare_judged(one, two, qrels, measures)

    assert (
        found.measures["RR@10"].after
        == evaluate_output(one, qrels, measures).measures["RR@10"].after
    )


def test_p_values_are_adjusted_to_the_number_of_measures(candidates: Path, tmp_path: Path) -> None:
    one, two = (scored(candidates, tmp_path / name, seed) for seed, name in enumerate("ab"))

    found = compare_judged(one, two, judge(tmp_path, some_judgements()), parse_measures(NAMES))

    raw = [measure.p_value or 0 for measure in found.measures.values()]
    adjusted = [measure.p_value_holm or 0 for measure in found.measures.values()]
    assert min(adjusted) == pytest.approx(min(1, 2 * min(raw)))
    assert max(adjusted) == pytest.approx(max(*raw, min(adjusted)))


def test_queries_that_only_one_output_holds_are_counted_and_left_out(tmp_path: Path) -> None:
    first = {"q1": ["a", "b"], "q2": ["a"], "q3": ["a"]}
    second = {"q1": ["b", "a"], "q4": ["a"]}
    one, two = (
        open_output(str(write_output(write_candidates(r, tmp_path / f"{n}.parquet"), tmp_path / n)))
        for n, r in (("one", first), ("two", second))
    )
    judged = [(f"q{number}", "a", 1) for number in (1, 2, 4, 5)]

    by_judgements = compare_judged(one, two, judge(tmp_path, judged), parse_measures(["RR"]))
    by_agreement = compare_unjudged(one, two)

    shared = by_judgements.shared
    assert (shared.queries, shared.only_output, shared.only_other, shared.missing) == (1, 1, 1, 1)
    assert by_judgements.measures["RR"].change == 0.5
    shared = by_agreement.shared
    assert (shared.queries, shared.only_output, shared.only_other, shared.missing) == (1, 2, 1, 0)


def test_an_output_agrees_with_itself(candidates: Path, tmp_path: Path) -> None:
    one = scored(candidates, tmp_path / "one", 0)

    found = compare_unjudged(one, one)

    assert found.shared.queries == 20
    assert [(figure.mean, figure.median) for figure in found.agreement.values()] == [(1, 1)] * 3


def test_parts_of_other_sizes_and_queries_in_another_order_are_aligned(tmp_path: Path) -> None:
    straight = write_candidates(RANKINGS, tmp_path / "a.parquet")
    order = random.Random(1).sample(list(RANKINGS), len(RANKINGS))
    shuffled = write_candidates({q: RANKINGS[q] for q in order}, tmp_path / "b.parquet")
    one = scored(straight, tmp_path / "one", 0, groups_per_part=3)
    two = scored(straight, tmp_path / "two", 1)
    other = scored(shuffled, tmp_path / "other", 1, groups_per_part=7)

    found, expected = compare_unjudged(one, other), compare_unjudged(one, two)

    assert found.by_query.equals(expected.by_query)


def test_ids_of_another_type_are_the_same_queries(tmp_path: Path) -> None:
    numbers = write_candidates({1: [7, 8], 2: [7]}, tmp_path / "numbers.parquet")
    strings = write_candidates({"1": ["7", "8"], "2": ["7"]}, tmp_path / "strings.parquet")
    one, two = (
        open_output(str(write_output(file, tmp_path / file.stem))) for file in (numbers, strings)
    )

    assert compare_unjudged(one, two).agreement["RBO"].mean == 1


def test_queries_come_by_rising_rbo(candidates: Path, tmp_path: Path) -> None:
    one, two = (scored(candidates, tmp_path / name, seed) for seed, name in enumerate("ab"))

    by_query = compare_unjudged(one, two).by_query

    assert by_query["RBO"].is_sorted()
    assert by_query.columns == ["query_id", "overlap@10", "RBO", "tau"]


def test_tau_is_averaged_over_the_queries_that_have_one(tmp_path: Path) -> None:
    one, two = (
        open_output(str(write_output(write_candidates(r, tmp_path / f"{n}.parquet"), tmp_path / n)))
        for n, r in (
            ("one", {"q1": ["a", "b"], "q2": ["a"], "q3": ["a"]}),
            ("two", {"q1": ["b", "a"], "q2": ["a"], "q3": ["z"]}),
        )
    )

    found = compare_unjudged(one, two).agreement

    assert (found["tau"].mean, found["tau"].median, found["tau"].queries) == (-1, -1, 1)
    assert found["RBO"].queries == 3


def test_outputs_without_a_common_query_are_refused(tmp_path: Path) -> None:
    one, two = (
        open_output(
            str(write_output(write_candidates({n: ["a"]}, tmp_path / f"{n}.parquet"), tmp_path / n))
        )
        for n in ("one", "two")
    )

    with pytest.raises(InputError, match="no query in common with"):
        compare_unjudged(one, two)
    judged = judge(tmp_path, [("one", "a", 1), ("two", "a", 1)])
    with pytest.raises(InputError, match="no judged query in common with"):
        compare_judged(one, two, judged, parse_measures(["RR"]))


def test_an_unfinished_output_is_compared_as_far_as_it_is(candidates: Path, tmp_path: Path) -> None:
    whole, begun = (
        scored(candidates, tmp_path / "a", 0),
        scored(candidates, tmp_path / "b", 1, parts=2),
    )

    found = compare_unjudged(whole, begun)

    assert (found.shared.queries, found.shared.only_output) == (4, 16)
    assert found.notes == [
        f"{tmp_path / 'b'} is not finished (no _SUCCESS, or a part is missing): "
        "only the queries that it holds count"
    ]
