"""Scores of a linked ranking: strictly decreasing as 32-bit floats, but for ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.ranking.merging.linked_scores import decreasing_scores

unhurried = settings(deadline=None)
probabilities = arrays(
    np.float64,
    st.integers(1, 60),
    elements=st.floats(0, 1) | st.sampled_from([0, 1, 0.5, 1 - 1e-12, 1e-300, 5e-324]),
)
any_scores = arrays(
    np.float64,
    st.integers(1, 60),
    elements=st.floats(-1e300, 1e300) | st.sampled_from([0.0, -0.0, 1e-310, -7.25, 16_777_216.0]),
)


def ties(data: st.DataObject, count: int) -> np.ndarray:
    drawn = data.draw(st.lists(st.booleans(), min_size=count, max_size=count), "ties")
    return np.array([False, *drawn[1:]])


def check(scores: np.ndarray, tied: np.ndarray) -> None:
    narrow = scores.astype(np.float32)
    assert np.isfinite(narrow).all()
    assert (narrow == scores).all()  # a 32-bit reader sees the very same numbers
    assert ((np.diff(narrow) < 0) == ~tied[1:]).all()
    assert ((np.diff(narrow) == 0) == tied[1:]).all()


@unhurried
@given(probabilities, st.data())
def test_probabilities_stay_in_their_range(scores, data):
    tied = ties(data, len(scores))

    decreasing = decreasing_scores(scores, tied, least=0.0)

    check(decreasing, tied)
    assert ((decreasing >= 0) & (decreasing <= 1)).all()


@unhurried
@given(any_scores, st.data())
def test_scores_of_any_range_decrease(scores, data):
    tied = ties(data, len(scores))

    check(decreasing_scores(scores, tied, least=-np.inf), tied)


@unhurried
@given(st.integers(0, 1000), st.integers(1, 300))
def test_scores_that_decrease_by_more_than_rounding_are_only_rounded(seed, count):
    scores = np.sort(np.random.default_rng(seed).choice(10**6, count, replace=False) / 2e6)[::-1]

    decreasing = decreasing_scores(scores, np.zeros(count, dtype=np.bool_), least=0.0)

    assert decreasing == pytest.approx(scores, rel=1e-7)


def test_a_place_has_the_score_that_is_as_high_among_all():
    scores = np.array([0.2, 0.9, 0.5, 0.4])

    decreasing = decreasing_scores(scores, np.zeros(4, dtype=np.bool_), least=0.0)

    assert decreasing == pytest.approx([0.9, 0.5, 0.4, 0.2])


def test_a_hundred_thousand_saturated_scores_are_told_apart():
    count = 100_000
    scores = np.repeat([1.0, 0.0], count)
    tied = np.zeros(2 * count, dtype=np.bool_)

    decreasing = decreasing_scores(scores, tied, least=0.0)

    check(decreasing, tied)
    assert (decreasing[0], decreasing[-1]) == (1, 0)
    assert (decreasing[:count] > 0.99).all()
    assert (decreasing[count:] < 1e-30).all()


def test_no_scores_are_no_scores():
    assert len(decreasing_scores(np.empty(0), np.empty(0, dtype=np.bool_), least=0.0)) == 0


@pytest.mark.parametrize("least", [0.1, 0.7, -0.7, 0.0, 1e-30])  # as 32-bit floats some are lower
def test_equal_scores_are_spread_above_the_least_one(least: float) -> None:
    scores = decreasing_scores(np.full(5, least), np.zeros(5, np.bool_), least=least)

    assert (np.diff(scores) < 0).all()
    assert scores[-1] >= least
    assert scores[0] == pytest.approx(least, abs=1e-6)
