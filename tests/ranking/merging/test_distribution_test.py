"""The test for one distribution: its statistic, its level with and without ties, its power."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import anderson_ksamp

from pipeline.ranking.merging.distribution_test import are_alike, standardised

ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "no ties": lambda scores: scores,
    "five scores": lambda scores: np.rint(scores).clip(-2, 2),
    "nine in ten are 0": lambda scores: np.maximum(0, scores - 1.3).round(1),
    "two scores": lambda scores: (scores > 0.5).astype(np.float64),
}


@pytest.mark.filterwarnings("ignore:p-value")
@pytest.mark.parametrize("sizes", [(40, 60), (300, 300, 297), (50,) * 7])
def test_the_statistic_is_that_of_scipy_up_to_its_deviation(sizes):
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=size) for size in sizes]

    expected = anderson_ksamp(samples, variant="midrank").statistic

    assert standardised(samples) == pytest.approx(expected, rel=0.1, abs=0.02)


@pytest.mark.parametrize("name", ROUNDINGS)
@pytest.mark.parametrize(("size", "count"), [(25, 2), (300, 2), (45, 8)])
def test_at_most_about_one_in_a_hundred_groups_of_one_distribution_is_refused(name, size, count):
    rng = np.random.default_rng(1)
    refused = sum(
        not are_alike([ROUNDINGS[name](rng.normal(size=size)) for _ in range(count)])
        for _ in range(500)
    )

    assert refused <= 13  # 5 expected; more in 1 of 1,000 cases


@pytest.mark.parametrize("name", ROUNDINGS)
def test_a_shift_of_half_a_deviation_is_seen_through_any_rounding(name):
    rng = np.random.default_rng(2)
    samples = [ROUNDINGS[name](rng.normal(size=450) + shift) for shift in (0, 0.5)]

    assert not are_alike(samples)


def test_equal_scores_and_samples_that_are_too_small_are_alike():
    assert are_alike([np.zeros(9), np.zeros(9)])
    assert are_alike([np.arange(9.0), np.full(4, 100.0)])
    assert are_alike([])


def apart(size: int, count: int) -> list[np.ndarray]:
    """Return samples of which each is above all before."""
    return [np.arange(size) + float(size * number) for number in range(count)]


def test_the_critical_value_falls_with_the_number_of_samples() -> None:
    """It is 3.752 for two samples and 3.416 for three."""
    assert standardised(apart(5, 2)) == pytest.approx(3.34, abs=0.01)
    assert are_alike(apart(5, 2))
    assert 3.8 < standardised(apart(6, 2)) < 4.5
    assert not are_alike(apart(6, 2))
    assert not are_alike(apart(5, 3))


def test_the_statistic_of_known_samples_is_as_ever() -> None:
    """With ties within samples and between them."""
    low, high = np.array([0, 0, 1, 2, 5.0]), np.array([1, 3, 3, 4, 5, 5, 6.0])
    ends = np.array([0, 0, 0, 0, 0, 9.0])

    assert standardised([low, high]) == pytest.approx(1.3643298218587219)
    assert standardised([low, high, ends]) == pytest.approx(2.5781297272837844)
    large = [np.arange(150.0) % 97, np.arange(130.0) * 7 % 113]
    assert standardised(large) == pytest.approx(10.870499860486227)
