"""Measures by rank: the same as ir-measures finds, told the ranks as scores."""

from collections.abc import Iterable

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ir_measures_alone import Row, best_ranks, values_of

from pipeline.evaluation.measures import parse_measure, parse_measures
from pipeline.evaluation.scoring import Scorer, aggregate

NAMES = (
    *("nDCG@10", "nDCG@3", "nDCG", "nDCG(gains={1: 5, 2: 7})@5", "nDCG(judged_only=True)@3"),
    *("RR@10", "RR@2", "RR", "RR(rel=2)", "R@100", "R@2", "P@1", "P@5", "AP", "AP(rel=2)@4"),
    *("Success@2", "Rprec", "Bpref", "infAP", "IPrec@0.5", "SetP", "SetR", "SetF(beta=2.0)"),
    *("SetAP", "Judged@3", "Judged", "Compat(p=0.8)", "NumRet", "NumRel", "NumQ"),
)


def frame(rows: Iterable[Row], last: str) -> pl.DataFrame:
    schema = {"query_id": pl.String, "doc_id": pl.String, last: pl.Int64}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def scored(
    names: Iterable[str], rankings: Iterable[list[Row]], judged: list[Row]
) -> dict[str, dict[str, float]]:
    """Return values by measure and query, of all judged queries."""
    measures = parse_measures(names)
    judgements = frame(judged, "relevance")
    scorer = Scorer(measures, judgements)
    for rows in rankings:
        scorer.add(frame(rows, "rank"))
    values = scorer.values(judgements["query_id"].unique())
    return {
        name: dict(zip(values["query_id"], values[name], strict=True))
        for name in map(str, measures)
    }


def independent(
    names: Iterable[str], rows: list[Row], judged: list[Row]
) -> dict[str, dict[str, float]]:
    """Return the same by ir-measures alone."""
    # trec_eval never ends where all judgements of a query are below 0.
    queries = {query_id for query_id, _, _ in judged}
    queries -= {query_id for query_id, _, relevance in judged if relevance >= 0}
    harmless = [(query_id, "none", 0) for query_id in queries]
    return values_of(names, best_ranks(rows), [*judged, *harmless])


IDS = st.sampled_from("abcdefghijklmnop")


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Row], list[Row]]:
    """Rankings with gaps and repeated documents, and judgements of some of them and of others."""
    queries = draw(st.lists(st.sampled_from(["q1", "q2", "q3", "q4"]), min_size=1, unique=True))
    rows = []
    for query_id in queries:
        docs = draw(st.lists(IDS, min_size=1, max_size=12))
        ranks = draw(
            st.lists(st.integers(1, 99), min_size=len(docs), max_size=len(docs), unique=True)
        )
        rows += [(query_id, doc, rank) for doc, rank in zip(docs, ranks, strict=True)]
    pairs = draw(
        st.dictionaries(
            st.tuples(st.sampled_from(["q1", "q2", "q5"]), IDS),
            st.integers(-1, 3),
            min_size=1,
            max_size=20,
        )
    )
    return rows, [(*pair, relevance) for pair, relevance in pairs.items()]


@settings(deadline=None)
@given(worlds())
def test_every_measure_is_what_ir_measures_says(world: tuple[list[Row], list[Row]]) -> None:
    rows, judged = world

    found, expected = scored(NAMES, [rows], judged), independent(NAMES, rows, judged)

    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values), name


@settings(deadline=None, max_examples=30)
@given(worlds(), st.data())
def test_how_rankings_are_cut_into_pieces_does_not_matter(
    world: tuple[list[Row], list[Row]], data: st.DataObject
) -> None:
    rows, judged = world
    queries = sorted({query_id for query_id, _, _ in rows})
    cut = data.draw(st.integers(0, len(queries)))
    pieces = [[row for row in rows if row[0] in some] for some in (queries[:cut], queries[cut:])]

    assert scored(NAMES, pieces, judged) == scored(NAMES, [rows], judged)


@settings(deadline=None, max_examples=30)
@given(worlds(), st.permutations(NAMES))
def test_the_company_of_a_measure_does_not_change_it(
    world: tuple[list[Row], list[Row]], names: list[str]
) -> None:
    rows, judged = world
    alone = scored(names[:1], [rows], judged)

    assert scored(names, [rows], judged).items() >= alone.items()


def test_ranks_decide_and_not_ids() -> None:
    rows = [("q", "z", 1), ("q", "a", 2), ("q", "m", 3)]

    found = scored(["RR"], [rows], [("q", "a", 1)])

    assert found["RR"]["q"] == 0.5


def test_equal_ranks_are_ordered_by_doc_id_backwards_as_trec_eval_does() -> None:
    rows = [("q", "a", 1), ("q", "b", 1), ("q", "c", 1)]
    judged = [("q", "b", 1)]

    found = scored(["RR"], [rows], judged)

    assert found["RR"]["q"] == 0.5
    assert found == independent(["RR"], rows, judged)


def test_a_query_whose_judgements_are_all_below_0_has_no_relevant_document() -> None:
    found = scored(NAMES, [[("q", "a", 1), ("q", "b", 2)]], [("q", "a", -1), ("q", "b", -2)])

    assert found["nDCG"]["q"] == found["AP"]["q"] == found["Bpref"]["q"] == 0
    assert found["Judged"]["q"] == 1


def test_a_precision_of_nothing_is_that_of_an_empty_ranking() -> None:
    name = "IPrec(judged_only=True)@0.5"

    assert scored([name], [[("q", "a", 1)]], [("q", "z", 0)]) == {name: {"q": 0}}


def test_ids_that_c_would_cut_at_a_nul_are_two() -> None:
    rows = [("q\0a", "d\0a", 1), ("q\0a", "d\0b", 2), ("q\0b", "d\0b", 1)]

    found = scored(["RR"], [rows], [("q\0a", "d\0b", 1), ("q\0b", "d\0b", 1)])

    assert found["RR"] == {"q\0a": 0.5, "q\0b": 1.0}


def test_ranks_of_millions_stay_apart() -> None:
    rows = [("q", "a", 20_000_001), ("q", "b", 20_000_000), ("q", "c", -5), ("q", "d", 0)]

    found = scored(["RR"], [rows], [("q", "b", 1)])

    assert found["RR"]["q"] == pytest.approx(1 / 3)


def test_a_query_in_no_ranking_counts_as_an_empty_one() -> None:
    found = scored(["nDCG@10", "R@5"], [[("q1", "a", 1)]], [("q1", "a", 1), ("q2", "a", 1)])

    assert found == {"nDCG@10": {"q1": 1, "q2": 0}, "R@5": {"q1": 1, "q2": 0}}


def test_no_rankings_at_all_give_no_values() -> None:
    scorer = Scorer(parse_measures(["AP"]), frame([("q", "a", 1)], "relevance"))
    scorer.add(frame([], "rank"))

    assert scorer.values().columns == ["query_id", "AP"]
    assert scorer.values().is_empty()


def test_rows_that_repeat_a_document_and_judged_documents_are_counted() -> None:
    scorer = Scorer(
        parse_measures(["AP"]), frame([("q", "a", 1), ("q", "c", 1), ("x", "a", 1)], "relevance")
    )

    scorer.add(frame([("q", "a", 1), ("q", "b", 2), ("q", "a", 3), ("y", "a", 1)], "rank"))

    assert scorer.num_repeated == 1
    assert scorer.num_found == 1


def test_measures_that_count_are_summed_and_others_averaged() -> None:
    values = pl.Series([1.0, 2.0])

    assert aggregate(parse_measure("NumRel"), values) == 3
    assert aggregate(parse_measure("AP"), values) == 1.5
