"""Fingerprints of answers that were normalised over their request, and answers that have none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ranking.merging.normalisation import (
    are_spread_alike,
    follow_from_ranks,
    look_normalised,
)

unhurried = settings(deadline=None)
seeds = st.integers(0, 10_000)

RANK_FUNCTIONS = {
    "reciprocal": lambda rank, size: 1 / (rank + 1),
    "reciprocal rank fusion": lambda rank, size: 1 / (60 + rank),
    "discount of 4 digits": lambda rank, size: (1 / np.log2(rank + 2)).round(4),
    "share": lambda rank, size: 1 - rank / size,
    "from 1 to 0": lambda rank, size: 1 - rank / (size - 1),
    "places left": lambda rank, size: (size - rank).astype(float),
    "log-odds of the share": lambda rank, size: np.log((size - rank - 0.5) / (rank + 0.5)),
    "percentile": lambda rank, size: np.floor(100 * (size - rank) / size),
}


def apart(answers: list[np.ndarray]) -> list[np.ndarray]:
    """Return documents for answers that have none in common."""
    ends = np.cumsum([len(answer) for answer in answers])
    return [np.arange(end - len(answer), end) for answer, end in zip(answers, ends, strict=True)]


def normal(seed: int, *sizes: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=size) for size in sizes]


@pytest.mark.parametrize("name", RANK_FUNCTIONS)
@unhurried
@given(seeds, st.integers(8, 500), st.integers(0, 2), st.integers(0, 3))
def test_scores_that_follow_from_ranks_are_recognised(name, seed, size, more, others):
    answers = []
    for scores in normal(seed, size, size + more, *[size] * others):
        rank = np.empty(len(scores))
        rank[np.argsort(-scores)] = np.arange(len(scores))
        answers.append(RANK_FUNCTIONS[name](rank, len(scores)))

    assert follow_from_ranks(answers) or are_spread_alike(answers)
    assert follow_from_ranks(answers) or more


@pytest.mark.parametrize("sizes", [(25, 25), (450, 452), (95, 13), (40, 40, 40)])
def test_independent_scores_neither_follow_from_ranks_nor_are_spread_alike(sizes):
    samples = [normal(seed, *sizes) for seed in range(500)]

    assert not any(map(follow_from_ranks, samples))
    assert not any(map(are_spread_alike, samples))


def test_a_missing_score_does_not_hide_a_function_of_ranks():
    scores = 1 / np.arange(1.0, 41)
    holey = np.concatenate((scores[:38], [np.nan, np.nan]))

    assert follow_from_ranks([scores, holey])


def test_scores_dealt_in_their_order_are_spread_alike_but_do_not_follow_from_ranks():
    scores = np.arange(50.0)
    answers = [scores[0::2], scores[1::2]]

    assert are_spread_alike(answers)
    assert not follow_from_ranks(answers)


def test_a_single_answer_follows_from_nothing():
    assert not follow_from_ranks([np.arange(5.0)])
    assert not are_spread_alike([np.arange(5.0)])


@pytest.mark.parametrize("factor", [1.0, 100.0])
@unhurried
@given(seeds, st.integers(10, 300), st.integers(2, 5))
def test_min_max_normalised_answers_are_recognised_in_any_range(factor, seed, size, count):
    answers = [
        (factor * (scores - scores.min()) / np.ptp(scores)).round(6)
        for scores in normal(seed, *[size] * count)
    ]

    assert look_normalised(answers, apart(answers))


@pytest.mark.parametrize("factor", [1.0, 100.0])
@unhurried
@given(seeds, st.integers(10, 300), st.integers(2, 5))
def test_softmax_is_recognised_by_its_sum(factor, seed, size, count):
    answers = [
        (factor * np.exp(scores) / np.exp(scores).sum()).round(6)
        for scores in normal(seed, *[size] * count)
    ]

    assert look_normalised(answers, apart(answers))


def test_z_scores_are_recognised_by_their_sum():
    answers = [(s - s.mean()) / s.std() for s in normal(0, 100, 99, 100)]

    assert look_normalised(answers, apart(answers))


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_sums_of_tiny_and_huge_scores_are_compared_without_a_warning(factor):
    independent = [factor * scores for scores in normal(0, 100, 100)]
    centred = [factor * (scores - scores.mean()) for scores in normal(0, 100, 99)]

    assert not look_normalised(independent, apart(independent))
    assert look_normalised(centred, apart(centred))


def test_independent_scores_do_not_look_normalised():
    answers = [normal(seed, 300, 300) for seed in range(1000)]

    assert sum(look_normalised(pair, apart(pair)) for pair in answers) <= 3


@unhurried
@given(seeds, st.integers(10, 300), st.integers(2, 5), st.booleans())
def test_a_division_by_the_best_or_the_distance_from_the_worst_is_recognised(
    seed, size, count, by_best
):
    answers = [
        np.exp(scores) / np.exp(scores).max() if by_best else scores - scores.min()
        for scores in normal(seed, *[size] * count)
    ]

    assert look_normalised(answers, apart(answers))


def test_the_same_best_document_in_all_answers_is_no_fingerprint():
    """Requests on one scale give an anchor the same score, also if it is the best one."""
    answers = normal(0, 50, 50)
    for answer in answers:
        answer[7] = 9.0
    documents = apart(answers)
    documents[1][7] = documents[0][7]

    assert not look_normalised(answers, documents)


def test_ends_that_are_equal_by_rounding_are_no_fingerprint():
    """Probabilities of two digits: 0.00 and 1.00 are among them in any request."""
    answers = [(1 / (1 + np.exp(-4 * s))).round(2) for s in normal(0, 400, 400)]

    assert [(a.min(), a.max()) for a in answers] == [(0, 1), (0, 1)]
    assert not look_normalised(answers, apart(answers))


def test_an_answer_that_lacks_a_score_does_not_count():
    softmax = [np.exp(s) / np.exp(s).sum() for s in normal(0, 50, 50)]
    softmax[0][7] = np.nan

    assert not look_normalised(softmax, apart(softmax))


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_the_same_best_and_the_same_worst_document_with_equal_scores_are_a_fingerprint(
    factor: float,
) -> None:
    """Rarely are both of them anchors; so are they equal up to the error of one division."""
    answers = normal(0, 50, 50)
    for number, answer in enumerate(answers):
        answer[[7, 8]] = 9.0 + 1e-10 * number, -9.0
        answer *= factor
    documents = apart(answers)
    documents[1][[7, 8]] = documents[0][[7, 8]]

    assert look_normalised(answers, documents)


def test_an_end_that_several_documents_share_is_no_fingerprint() -> None:
    answers = [np.minimum(scores, 1.0) for scores in normal(0, 200, 200)]

    assert all(np.count_nonzero(answer == 1) > 1 for answer in answers)
    assert not look_normalised(answers, apart(answers))


def test_answers_of_two_documents_count_and_of_one_do_not() -> None:
    pairs = [np.array([share, 1 - share]) for share in (0.1234567, 0.3456789)]
    alone = np.array([0.5])

    assert look_normalised([alone, *pairs], apart([alone, *pairs]))
    assert not look_normalised([alone, pairs[0]], apart([alone, pairs[0]]))


@pytest.mark.parametrize(("steps", "same"), [(13, True), (14, False)])
def test_sums_are_equal_up_to_three_deviations_of_their_rounding(steps: int, same: bool) -> None:
    """Of two sums of 100 scores of three digits: 3 sqrt(2 * 100 / 12) / 1000 = .0122.

    The half of a thousandth of the sums' deviation of 2 comes on top.
    """
    answers = [(0.2 * normal(0, 100)[0]).round(3), np.empty(0)]
    answers[1] = answers[0].copy()
    answers[1][[answers[0].argmax(), answers[0].argmin()]] += 0.1, -0.1
    answers[1][50] += steps / 1000

    answers[1] = answers[1].round(3)

    assert look_normalised(answers, apart(answers)) is same


@pytest.mark.parametrize("more", [-100.0, 100.0])
@pytest.mark.parametrize("first_is_longer", [True, False])
@pytest.mark.parametrize(("difference", "same"), [(0.9e-7, True), (1.1e-7, False)])
def test_scores_at_the_same_ranks_are_equal_up_to_a_billionth_of_their_range(
    more: float, first_is_longer: bool, difference: float, same: bool
) -> None:
    """One answer has a further document, whose score is far above or below all others."""
    scores = np.linspace(0, 1, 10) if more > 0 else np.linspace(-1, 0, 10)
    answers = [np.append(scores, more), scores + difference][:: 1 if first_is_longer else -1]

    assert follow_from_ranks(answers) is same
