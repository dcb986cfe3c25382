"""Paired comparison: tests that say something, and silence where there is nothing to say."""

import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from pipeline.evaluation.measures import parse_measures
from pipeline.evaluation.paired import by_query, compare_measures, holm, t_test

MEASURES = parse_measures(["RR@10", "AP"])


def values(rr: list[float], ap: list[float]) -> pl.DataFrame:
    return pl.DataFrame({"query_id": [f"q{n}" for n in range(len(rr))], "RR@10": rr, "AP": ap})


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=30).filter(
        lambda pairs: len({after - before for before, after in pairs}) > 1
    )
)
def test_the_p_value_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    before, after = np.array(pairs).T / 20

    assert t_test(after - before) == pytest.approx(ttest_rel(after, before).pvalue)


@pytest.mark.parametrize(
    "changes", [[], [0.3], [0.0, 0.0], [0.1] * 5, [0.1, 0.1 + 1e-16, 0.1 - 1e-16], [-1.0] * 300]
)
def test_a_constant_change_has_no_p_value_and_no_warning(changes: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert t_test(np.array(changes)) is None


def test_each_measure_is_compared_by_itself() -> None:
    before = values([0.0, 0.5, 1.0], [0.2, 0.2, 0.2])
    after = values([1.0, 0.25, 1.0], [0.3, 0.3, 0.3])

    found = compare_measures(MEASURES, before, after)

    assert found["RR@10"].before == pytest.approx(0.5)
    assert found["RR@10"].after == pytest.approx(0.75)
    assert found["RR@10"].change == pytest.approx(0.25)
    assert (found["RR@10"].improved, found["RR@10"].degraded) == (1, 1)
    assert (found["AP"].improved, found["AP"].degraded) == (3, 0)
    assert found["AP"].p_value is None


def test_sums_in_another_order_are_no_change() -> None:
    found = compare_measures(MEASURES, values([0.3], [0.3]), values([0.1 + 0.2], [0.3]))

    assert (found["RR@10"].improved, found["RR@10"].degraded) == (0, 0)


def test_one_order_alone_has_no_change() -> None:
    found = compare_measures(MEASURES, None, values([1.0, 0.0], [0.1, 0.1]))

    assert found["RR@10"].after == 0.5
    assert found["RR@10"].before is None
    assert found["RR@10"].change is None
    assert found["RR@10"].improved is None


def test_holm_adjusts_step_by_step() -> None:
    # Holm's steps by hand: 4 x .01, 3 x .02, 2 x .03 and 1 x .04 against the step before.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_a_test_without_a_p_value_does_not_count_in_holm() -> None:
    assert holm([None, 0.03, 0.01, None]) == [None, 0.03, 0.02, None]


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_holm_keeps_order_and_never_lowers(p_values: list[float | None]) -> None:
    pairs = [
        (p, adjusted)
        for p, adjusted in zip(p_values, holm(p_values), strict=True)
        if p is not None and adjusted is not None
    ]

    assert all(p <= adjusted <= 1 for p, adjusted in pairs)
    assert [a for _, a in sorted(pairs)] == sorted(a for _, a in pairs)


def test_queries_are_sorted_by_falling_change_for_each_measure() -> None:
    rows = by_query(
        MEASURES, values([0.0, 0.5, 0.5], [0.0] * 3), values([0.0, 0.0, 1.0], [0.1] * 3)
    )

    assert rows.columns == ["query_id", "measure", "before", "after", "change"]
    assert rows["query_id"].to_list() == ["q2", "q0", "q1", "q0", "q1", "q2"]
    assert rows["measure"].to_list() == ["RR@10"] * 3 + ["AP"] * 3
    assert rows["change"].to_list()[:3] == [0.5, 0.0, -0.5]
