"""The tests of comparability: their level, what they detect, in any range of scores."""

from collections.abc import Callable

import numpy as np
import pytest
from benchmarks.bench_merging_verdicts import MAPS
from msgspec.structs import replace
from scipy.stats import chi2, f
from support.merging_world import (
    LIMITS,
    Service,
    affine,
    draw_documents,
    monotone,
    none,
    pack_documents,
    packing_of,
)

from pipeline.planning.packing import pack
from pipeline.planning.request_limits import RequestLimits
from pipeline.ranking.merging.comparability import (
    TOLERATED_NOISE,
    TOLERATED_SHARE_NOISE,
    Comparability,
    compare,
)
from pipeline.ranking.merging.first_round import FirstRound, collect_first_round
from pipeline.ranking.merging.merge import merge
from pipeline.ranking.merging.merged import Merged
from pipeline.ranking.merging.permutation_test import permutation_p
from pipeline.ranking.merging.scale import LinearScale, choose_scale
from pipeline.ranking.merging.share_scale import ShareScale


def comparability(
    distort: Callable[..., np.ndarray],
    noise: float,
    seed: int,
    *,
    count: int = 3000,
    digits: int = 6,
    to_range: str = "probabilities",
    mixture: str = "sparse",
    limits: RequestLimits = LIMITS,
) -> Comparability:
    documents = draw_documents(np.random.default_rng(seed), count, mixture=mixture)
    service = Service(documents, seed, distort, noise, 17, limits)
    group = pack_documents(documents, limits)
    answers = [
        MAPS[to_range](np.clip(service(request), 1e-300, 1 - 1e-16)).round(digits)
        for request in group.requests
    ]
    first = collect_first_round(group, answers)
    return compare(first, choose_scale(first))


def test_equal_scores_everywhere_are_comparable():
    verdict = comparability(none, 0, 0)

    assert verdict.comparable
    assert verdict.p_lines == pytest.approx(1)
    assert verdict.rms_before < 0.01


@pytest.mark.parametrize("to_range", MAPS)
def test_the_share_of_false_alarms_is_within_the_level(to_range):
    """With the largest tolerated noise about one comparable group in a hundred is linked."""
    alarms = sum(
        not comparability(none, 0.2, seed, count=1500, to_range=to_range).comparable
        for seed in range(50)
    )

    assert alarms <= 3


@pytest.mark.parametrize("to_range", MAPS)
def test_noise_beyond_tolerance_and_shifts_are_detected_in_any_range(to_range):
    assert comparability(none, 0.6, 0, to_range=to_range).p_noise < 1e-6
    assert comparability(affine, 0.05, 0, to_range=to_range).p_lines < 0.01


@pytest.mark.parametrize("distort", [affine, monotone])
@pytest.mark.parametrize("to_range", MAPS)
@pytest.mark.parametrize("mixture", ["sparse", "rich"])
def test_two_requests_on_different_scales_are_told_apart_in_any_range(distort, to_range, mixture):
    told_apart = sum(
        not comparability(
            distort, 0.05, seed, count=900, to_range=to_range, mixture=mixture
        ).comparable
        for seed in range(24)
    )

    assert told_apart >= 23


@pytest.mark.parametrize("to_range", MAPS)
def test_two_requests_on_one_scale_are_comparable_in_any_range_at_four_digits(to_range):
    comparable = sum(
        comparability(none, 0.05, seed, count=900, digits=4, to_range=to_range).comparable
        for seed in range(24)
    )

    assert comparable >= 21


def test_anchors_that_are_all_saturated_are_no_evidence():
    verdict = comparability(lambda rng, logit: (logit > 2).astype(float), 0.0, 0)

    assert not verdict.connected
    assert not verdict.comparable
    assert np.isnan([verdict.rms_before, verdict.rms_after]).all()


def answers_to(anchors: np.ndarray, others: np.ndarray) -> FirstRound:
    """Return the answers to anchors, float64[k, C], and to the others of each request."""
    k, num_requests = anchors.shape
    own = k + np.arange(num_requests * others.size).reshape(num_requests, others.size)
    homes = [[*range(k), *own[0].tolist()], *own[1:].tolist()]
    answers = [np.append(others, scores) for scores in anchors.T]
    answers[0] = np.append(anchors[:, 0], others)
    return collect_first_round(packing_of(*homes, anchors=[*range(k)]), answers)


IDENTITIES = {
    "linear": (LinearScale(0.0, 0, 1), TOLERATED_NOISE),
    "rounded": (LinearScale(0.5, 0, 1), TOLERATED_NOISE),
    "share": (
        ShareScale(0.0, np.array([-9.0, 9]), np.array([-9.0, 9]), np.zeros(1)),
        TOLERATED_SHARE_NOISE,
    ),
}
LINEAR = IDENTITIES["linear"][0]
"""Scales on which values are the scores themselves, and the noise that is tolerated there."""


@pytest.mark.parametrize("name", IDENTITIES)
@pytest.mark.parametrize(("k", "num_requests"), [(1, 2), (2, 2), (3, 2), (4, 2), (8, 2), (8, 4)])
def test_the_figures_of_a_comparison_are_those_of_theory(
    k: int, num_requests: int, name: str
) -> None:
    """Of k anchors in C requests k (C - 1) are repeats; a line per request takes 2 (C - 1)."""
    scale, tolerated = IDENTITIES[name]
    rng = np.random.default_rng(k)
    values = np.linspace(-2, 2, k)[:, None] + 0.1 * rng.normal(size=(k, num_requests))
    means = values.mean(axis=1)
    deviations = values - means[:, None]
    squares = (deviations**2).sum()
    repeats, freedom = k * (num_requests - 1), (k - 2) * (num_requests - 1)
    rounding = scale.resolution / np.sqrt(12)
    tolerated *= min(1.0, max(freedom, 1) / 6) ** 2
    lines = np.polynomial.polynomial.polyfit(means, deviations, min(k - 1, 1))
    fitted = np.polynomial.polynomial.polyval(means, lines).T
    beside = ((deviations - fitted) ** 2).sum()
    distance = np.sqrt(2 * (deviations**2).sum(axis=1) / (num_requests - 1))
    close = np.minimum(np.maximum(distance, np.sqrt(12) * rounding) / 0.5, 1)

    test = compare(answers_to(values, np.arange(3.0)), scale)

    assert test.rms_before == pytest.approx(np.sqrt(squares / repeats))
    assert test.rms_after == pytest.approx(np.sqrt(beside / max(freedom, 1)), abs=1e-7)
    assert test.p_noise == pytest.approx(
        chi2.sf(squares / (tolerated**2 + rounding**2), repeats), rel=1e-9
    )
    assert test.coincidence == pytest.approx(np.prod(close ** (num_requests - 1)))
    assert test.connected
    if freedom < 3:
        assert test.p_lines == 0
    elif num_requests == 2 and not rounding:
        of_lines, of_noise = (squares - beside) / 2, beside / freedom
        assert test.p_lines == pytest.approx(f.sf(of_lines / of_noise, 2, freedom))


@pytest.mark.parametrize("num_requests", [3, 4])
def test_more_than_two_requests_are_told_apart_by_permutation_alone(num_requests: int) -> None:
    noise = np.random.default_rng(0).normal(size=(8, num_requests))
    values = np.arange(8.0)[:, None] + 0.1 * noise + np.arange(num_requests)

    test = compare(answers_to(values, np.arange(3.0)), LINEAR)

    assert test.p_lines == permutation_p(values, np.ones(values.shape, bool))


def test_a_shift_without_noise_is_a_difference_if_it_is_large_enough_to_matter() -> None:
    """Nothing is left beside the lines then, by which to measure it."""

    def p_lines(shift: float) -> float:
        values = np.arange(8.0)[:, None] + [0, shift]
        return compare(answers_to(values, np.arange(3.0)), LINEAR).p_lines

    assert p_lines(1.0) < 1e-6
    assert p_lines(1e-4) > 0.5


@pytest.mark.parametrize(("shared", "connected"), [(2, True), (1, False)])
def test_requests_are_connected_by_anchors_of_others(shared: int, connected: bool) -> None:
    """Each anchor has a score in two neighbours of five requests; two may share none."""
    values = np.full((4, 5), np.nan)
    for anchor in range(4):
        values[anchor, anchor : anchor + 2] = anchor
    if shared == 1:
        values[2, 3] = np.nan

    assert compare(answers_to(values, np.arange(3.0)), LINEAR).connected is connected


def test_scores_that_follow_from_ranks_are_a_fingerprint_though_the_anchors_repeat() -> None:
    """So they do if the anchors happen to have the same ranks in all requests."""
    test = compare(answers_to(np.arange(3.0)[:, None] * [1, 1], np.arange(3.0, 9)), LINEAR)

    assert test.p_lines == 1
    assert test.fingerprint


def test_without_anchors_a_normalisation_is_recognised_all_the_same() -> None:
    rng = np.random.default_rng(0)
    answers = [share / share.sum() for share in rng.exponential(size=(2, 30))]
    first = collect_first_round(packing_of([*range(30)], [*range(30, 60)], anchors=[]), answers)

    test = compare(first, LINEAR)

    assert (test.p_lines, test.p_noise, test.coincidence, test.connected) == (0, 0, 1, False)
    assert test.alike
    assert test.fingerprint


def test_coarse_scores_that_agree_by_rounding_are_no_evidence():
    """Scores of one digit repeat exactly, also if requests are on rather different scales."""

    def coarse(rng: np.random.Generator, logit: np.ndarray) -> np.ndarray:
        return monotone(rng, logit).round(1)

    limits = replace(LIMITS, max_documents=25)
    verdicts = [comparability(coarse, 0, seed, count=50, limits=limits) for seed in range(100)]

    assert not any(verdict.comparable for verdict in verdicts)
    assert any(verdict.rms_before < 1e-3 for verdict in verdicts)


@pytest.mark.parametrize(("shift", "comparable"), [(0.0, True), (0.01, False)])
def test_too_few_anchors_for_a_test_compare_only_if_they_repeat_exactly(
    shift: float, comparable: bool
) -> None:
    limits = RequestLimits(max_documents=22, max_tokens=10_000, max_bytes=1 << 20, query_tokens=1)
    tokens = np.full(38, 10, dtype=np.int64)
    packing = pack(tokens, tokens, limits)
    logit = np.linspace(3.0, -5.0, len(tokens))
    assert (len(packing.homes), len(packing.anchors)) == (2, 3)

    answers = [
        1 / (1 + np.exp(-(logit[documents] + shift * number)))
        for number, documents in enumerate(packing.requests)
    ]
    outcome = merge(packing, answers)

    assert isinstance(outcome, Merged) is comparable
