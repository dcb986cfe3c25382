"""The permutation test: its level under uneven noise, what it detects, and what it cannot."""

from itertools import product

import numpy as np
import pytest

from pipeline.ranking.merging.permutation_test import (
    explained_variation,
    least_p,
    permutation_p,
)

UNEVEN = np.array([1, 1, 1, 1, 1, 1, 5, 20])[:, None]
"""Standard deviations of eight anchors: two of them are much noisier than the others."""


def values(seed: int, num_requests: int, *, noise: object = 0.05) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(8, 1)) + noise * rng.normal(size=(8, num_requests))


def all_of(table: np.ndarray) -> np.ndarray:
    return np.ones(table.shape, dtype=np.bool_)


@pytest.mark.parametrize("num_requests", [2, 3, 7])
def test_the_level_is_kept_though_some_anchors_are_noisier(num_requests):
    tables = [values(seed, num_requests, noise=0.05 * UNEVEN) for seed in range(300)]

    rejected = sum(permutation_p(table, all_of(table)) <= 0.05 for table in tables)

    assert rejected <= 26  # 15 are expected, and so many or more in one of 200 trials


@pytest.mark.parametrize("num_requests", [2, 7])
def test_a_shift_and_a_stretch_of_one_request_are_detected(num_requests):
    shifted, stretched = values(0, num_requests), values(1, num_requests)
    shifted[:, 0] += 0.3
    stretched[:, 0] *= 1.5

    for table in (shifted, stretched):
        assert permutation_p(table, all_of(table)) <= 0.01


def test_exact_repeats_differ_from_no_permutation():
    table = np.repeat(values(0, 1), 4, axis=1)

    assert permutation_p(table, all_of(table)) == 1


def test_missing_values_are_left_where_they_are():
    table = values(0, 5)
    table[:, 1] += 0.4
    cells = all_of(table)
    cells[0, 1] = cells[3, 2] = cells[5, :4] = False
    table[~cells] = 1e6

    assert permutation_p(table, cells) <= 0.01


def test_the_result_is_the_same_each_time():
    table = values(0, 4)

    assert permutation_p(table, all_of(table)) == permutation_p(table, all_of(table))


def test_the_least_p_value_is_that_of_the_permutations_that_differ():
    two, three = values(0, 2), values(0, 3)
    repeated = two.copy()
    repeated[:3, 1] = repeated[:3, 0]

    assert least_p(two, all_of(two)) == 1 / 128
    assert least_p(repeated, all_of(two)) == 1 / 16
    assert least_p(three, all_of(three)) == 1 / 500


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_the_explained_variation_is_that_of_weighted_least_squares(size: float) -> None:
    rng = np.random.default_rng(0)
    means, deviations = rng.normal(size=8), rng.normal(size=(5, 8, 3))
    weights = size * rng.uniform(0.1, 1, (8, 3))
    weights[2, 1] = weights[5, 2] = 0

    expected = np.zeros(5)
    for request in range(3):
        root = np.sqrt(weights[:, request])
        for number, of_request in enumerate(deviations[:, :, request]):
            fitted = np.polyval(np.polyfit(means, of_request, 1, w=root), means)
            expected[number] += (root**2 * (of_request**2 - (of_request - fitted) ** 2)).sum()
    assert explained_variation(deviations, means, weights) == pytest.approx(expected)


def test_one_anchor_determines_no_slope_and_a_request_without_any_explains_nothing() -> None:
    deviations = np.array([[2.0, -1.0, 0.0]])

    explained = explained_variation(deviations, np.array([5.0]), np.array([[3.0, 1.0, 0.0]]))

    assert explained == pytest.approx(3 * 2**2 + 1)


@pytest.mark.parametrize("seed", range(12))
def test_the_p_value_of_two_requests_is_the_share_of_swaps_that_explain_as_much(seed: int) -> None:
    """An anchor's variance is that of its own values, and with four degrees of freedom of all."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(6, 1)) + 0.2 * rng.exponential(size=(6, 1)) * rng.normal(size=(6, 2))
    table[:, 1] += 0.15
    cells = all_of(table)
    cells[seed % 6, 0] = False
    table[~cells] = 7.0

    means = np.array([row[known].mean() for row, known in zip(table, cells, strict=True)])
    deviations = np.where(cells, table - means[:, None], 0)
    freedom, squares = cells.sum(axis=1) - 1, (deviations**2).sum(axis=1)
    variance = (4 * squares.sum() / freedom.sum() + squares) / (4 + freedom) + 0.02**2
    swaps = np.array(list(product((1, -1), repeat=6)))
    explained = explained_variation(
        swaps[:, :, None] * deviations, means, cells / variance[:, None]
    )

    assert permutation_p(table, cells) == np.mean(explained >= explained[0] - 1e-9)


def test_as_many_as_ten_anchors_are_swapped_in_every_way() -> None:
    ten, eleven = (np.arange(k)[:, None] + [0.0, 0.5] for k in (10, 11))

    assert (least_p(ten, all_of(ten)), least_p(eleven, all_of(eleven))) == (1 / 512, 1 / 500)
    assert permutation_p(ten, all_of(ten)) == 1 / 512


def test_anchors_that_repeat_exactly_or_have_one_value_leave_no_swap() -> None:
    table = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.5]])
    cells = np.array([[True, True], [True, True], [True, False]])

    assert least_p(table, cells) == 1
    table[:2, 1] += 0.1
    assert least_p(table, cells) == 1 / 2
