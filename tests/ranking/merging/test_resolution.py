"""The step that scores are rounded to: decimals, other grids, or none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ranking.merging.resolution import resolution_of

unhurried = settings(deadline=None)


@unhurried
@given(st.integers(0, 14), st.lists(st.integers(0, 10**14), min_size=1))
def test_the_decimals_of_rounded_scores_are_recognised(digits, numbers):
    scores = np.array([float(f"{n % 10**digits / 10**digits:.{digits}f}") for n in numbers])

    resolution = resolution_of(scores)

    assert 10.0**-digits <= resolution <= 1


@unhurried
@given(st.integers(0, 5), st.floats(-5, 5), st.integers(0, 10_000))
def test_decimals_of_any_range_are_recognised(digits, scale, seed):
    scores = (10**scale * np.random.default_rng(seed).normal(size=100)).round(digits)

    assert resolution_of(scores) >= 10.0**-digits


def test_full_floats_have_no_resolution():
    assert resolution_of(np.random.default_rng(0).random(1000)) == 0


def test_scores_on_another_grid_are_recognised_by_their_ties():
    scores = np.random.default_rng(0).integers(0, 200, 1000) / 255

    assert resolution_of(scores) == pytest.approx(1 / 255)


def test_scores_that_are_tied_at_the_ends_alone_are_not_rounded():
    scores = np.random.default_rng(0).normal(size=40)

    assert resolution_of(np.clip(scores, *np.quantile(scores, [0.2, 0.9]))) == 0


def test_huge_scores_have_a_resolution_without_a_warning():
    assert resolution_of(np.array([1e300, -1e300])) == 1


def test_one_score_that_is_no_decimal_shows_wherever_it_is():
    assert resolution_of(np.append(np.arange(100) / 10, 1 / 3)) == 0


@pytest.mark.parametrize(
    ("count", "pairs", "is_grid"),
    [(100, 3, True), (150, 3, True), (151, 3, False), (100, 2, False), (100, 0, False)],
)
def test_a_grid_shows_by_three_scores_that_are_tied_and_by_two_ties_in_a_hundred(
    count: int, pairs: int, is_grid: bool
) -> None:
    numbers = np.random.default_rng(0).choice(10**6, count - pairs, replace=False)
    scores = np.append(numbers, numbers[:pairs]) / 3e6

    assert resolution_of(scores) == (np.diff(np.unique(scores)).min() if is_grid else 0)
