"""The tests of comparability: their level, what they detect, in any range of scores."""

from collections.abc import Callable

import numpy as np
import pytest
from benchmarks.bench_merging_verdicts import MAPS
from msgspec.structs import replace
from support.merging_world import (
    LIMITS,
    Service,
    affine,
    draw_documents,
    monotone,
    none,
    pack_documents,
)

from pipeline.planning.packing import RequestLimits, pack
from pipeline.ranking.merging.comparability import Comparability, compare
from pipeline.ranking.merging.first_round import collect_first_round
from pipeline.ranking.merging.merge import merge
from pipeline.ranking.merging.merged import Merged
from pipeline.ranking.merging.scale import choose_scale


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
        for request in group.requests()
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
        for number, documents in enumerate(packing.requests())
    ]
    outcome = merge(packing, answers)

    assert isinstance(outcome, Merged) is comparable
