"""Agreement of rankings: against the definitions, written out the slow way."""

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from pipeline.evaluation.agreement import NAMES, P, compare_rankings

Rankings = dict[str, list[str]]


def frame(rankings: Rankings) -> pl.DataFrame:
    rows = [
        (query_id, doc_id, rank)
        for query_id, docs in rankings.items()
        for rank, doc_id in enumerate(docs, start=1)
    ]
    schema = {"query_id": pl.String, "doc_id": pl.String, "rank": pl.Int32}
    return pl.DataFrame(rows, schema=schema, orient="row")


def agreement(one: list[str], other: list[str]) -> dict[str, float | None]:
    found = compare_rankings(frame({"q": one}), frame({"q": other}))
    return found.row(0, named=True)


def rbo_ext(one: list[str], other: list[str]) -> float:
    """Equation 32 of Webber, Moffat and Zobel (2010), term by term."""
    short, long = sorted((one, other), key=len)
    s, l = len(short), len(long)  # noqa: E741  # the paper's names
    x = [len(set(short[:d]) & set(long[:d])) for d in range(l + 1)]
    agreed = sum(x[d] / d * P**d for d in range(1, l + 1))
    beyond = sum(x[s] * (d - s) / (s * d) * P**d for d in range(s + 1, l + 1))
    return (1 - P) / P * (agreed + beyond) + ((x[l] - x[s]) / l + x[s] / s) * P**l


def tau(one: list[str], other: list[str]) -> float | None:
    common = [doc for doc in one if doc in other]
    value = kendalltau(
        [one.index(doc) for doc in common], [other.index(doc) for doc in common]
    ).statistic
    return None if math.isnan(value) else float(value)


DOCS = st.lists(st.integers(0, 40).map(str), min_size=1, max_size=30, unique=True)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("pqrst"), st.tuples(DOCS, DOCS), min_size=1))
def test_every_query_has_the_figures_of_the_definitions(
    pairs: dict[str, tuple[list[str], list[str]]],
) -> None:
    one = {query_id: pair[0] for query_id, pair in pairs.items()}
    other = {query_id: pair[1] for query_id, pair in pairs.items()}

    found = compare_rankings(frame(one), frame(other).reverse())

    assert found["query_id"].to_list() == sorted(pairs)
    for query_id, overlap, rbo, kendall in found.iter_rows():
        first, second = pairs[query_id]
        depth = min(10, max(len(first), len(second)))
        assert overlap == pytest.approx(len({*first[:10]} & {*second[:10]}) / depth)
        assert rbo == pytest.approx(rbo_ext(first, second))
        assert kendall == (
            None if len({*first} & {*second}) < 2 else pytest.approx(tau(*pairs[query_id]))
        )


@settings(deadline=None)
@given(DOCS, DOCS)
def test_agreement_is_the_same_both_ways(one: list[str], other: list[str]) -> None:
    assert agreement(one, other) == pytest.approx(agreement(other, one), nan_ok=True)


@pytest.mark.parametrize("size", [1, 2, 9, 10, 11, 100, 3000])
def test_equal_rankings_agree_exactly(size: int) -> None:
    docs = [f"d{number}" for number in range(size)]

    found = agreement(docs, docs)

    assert [found[name] for name in NAMES] == [1, 1, None if size == 1 else 1]


def test_rankings_without_a_common_document_do_not_agree() -> None:
    found = agreement(["a", "b"], ["c"])

    assert [found[name] for name in NAMES] == [0, 0, None]


def test_a_reversed_ranking_has_tau_minus_1() -> None:
    docs = [f"d{number}" for number in range(50)]

    assert agreement(docs, docs[::-1])["tau"] == -1


def test_the_first_ten_places_have_86_percent_of_the_weight() -> None:
    head = [f"d{number}" for number in range(10)]
    tails = [[f"{name}{number}" for number in range(500)] for name in "xy"]

    found = agreement(head + tails[0], head + tails[1])

    assert found["overlap@10"] == 1
    assert found["RBO"] == pytest.approx(0.86, abs=0.005)


def test_of_a_repeated_document_the_best_place_counts() -> None:
    assert agreement(["a", "b", "a", "c"], ["a", "b", "c"]) == agreement("abc", "abc")


def test_queries_of_one_ranking_alone_are_left_out() -> None:
    found = compare_rankings(frame({"p": ["a"], "q": ["a"]}), frame({"q": ["a"], "r": ["a"]}))

    assert found["query_id"].to_list() == ["q"]


def test_no_common_query_gives_no_rows() -> None:
    found = compare_rankings(frame({"p": ["a"]}), frame({"q": ["a"]}))

    assert found.is_empty()
    assert found.columns == ["query_id", *NAMES]


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(300)))
def test_tau_of_long_rankings_is_that_of_scipy(order: list[int]) -> None:
    one = [f"d{number:03}" for number in range(300)]

    found = agreement(one, [f"d{number:03}" for number in order])

    places = [order.index(number) for number in range(300)]
    assert found["tau"] == pytest.approx(kendalltau(range(300), places).statistic)
