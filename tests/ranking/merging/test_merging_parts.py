"""The parts of merging, against results worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.merging_world import Service, affine, draw_documents, none, pack_documents

from pipeline.planning.packing import Packing, RequestLimits, pack
from pipeline.ranking.merging.affine_link import fit_affine
from pipeline.ranking.merging.comparability import compare
from pipeline.ranking.merging.final_request import FinalRequest
from pipeline.ranking.merging.first_round import collect_first_round
from pipeline.ranking.merging.logit_scale import NOISE, LogitScale
from pipeline.ranking.merging.merge import merge
from pipeline.ranking.merging.rank_link import fit_rank_link

FREE = RequestLimits(max_documents=99, max_tokens=99, max_bytes=99, query_tokens=0)


def packing(*homes: list[int], anchors: list[int]) -> Packing:
    ones = np.ones(sum(map(len, homes)), dtype=np.int64)
    return Packing(tuple(map(np.array, homes)), np.array(anchors), ones, ones, FREE)


@given(st.integers(1, 14), st.lists(st.integers(0, 10**14), min_size=1))
def test_the_decimals_of_rounded_scores_are_recognised(digits, numbers):
    scores = np.array([float(f"{n % 10**digits / 10**digits:.{digits}f}") for n in numbers])

    quantum = LogitScale.of(scores).quantum

    assert 10.0**-digits <= quantum <= 0.1


def test_full_floats_have_the_finest_quantum():
    assert LogitScale.of(np.array([1 / 3, 0.5])).quantum == 1e-12


@pytest.mark.parametrize("scores", [[0.2, 1.5], [-0.1, 0.3], [-7.0, 4.0]])
def test_scores_outside_0_and_1_are_logits(scores):
    scale = LogitScale.of(np.array(scores))

    assert scale.quantum is None
    assert scale.logit(np.array(scores)).tolist() == scores
    assert (scale.weight(np.array(scores)) == NOISE**-2).all()


def test_logits_are_finite_at_0_and_1_and_convert_back_into_scores():
    scale = LogitScale(0.001)
    scores = np.array([0, 0.001, 0.5, 0.999, 1])

    logits = scale.logit(scores)

    assert np.isfinite(logits).all()
    assert scale.score(logits) == pytest.approx([0.0005, 0.001, 0.5, 0.999, 0.9995])


def test_saturated_and_missing_scores_have_no_weight_and_coarse_ones_little():
    weight = LogitScale(0.001).weight(np.array([0, 0.001, 0.002, 0.5, 0.999, 1, np.nan]))

    assert weight.tolist() == [0, 0, weight[2], weight[3], 0, 0, 0]
    assert weight[2] < weight[3] == pytest.approx(NOISE**-2, rel=1e-3)


def lines(rng: np.random.Generator) -> np.ndarray:
    """Return the logits of eight anchors in four requests, each a line of the same values."""
    value, offset = rng.normal(-3, 3, 8), rng.normal(0, 1, 4)
    slope = np.exp(rng.normal(0, 0.2, 4))
    return offset + slope * value[:, None]


def test_the_affine_fit_finds_lines():
    logit = lines(np.random.default_rng(0))

    link = fit_affine(logit, np.full(logit.shape, 100.0), steps=40, robust=False)

    common = np.array([link.to_reference(logit[:, r], r) for r in range(4)])
    assert np.ptp(common, axis=0) == pytest.approx(0, abs=0.02)
    assert np.log(link.slope).mean() == pytest.approx(0)
    assert link.offset.mean() == pytest.approx(link.center)


def test_the_robust_fit_ignores_an_outlier():
    logit = lines(np.random.default_rng(1))
    spoilt = logit.copy()
    spoilt[3, 2] += 8
    weight = np.full(logit.shape, 100.0)

    plain = fit_affine(spoilt, weight, steps=30, robust=False)
    robust = fit_affine(spoilt, weight, steps=30, robust=True)

    def disagreement(link) -> float:
        return float(np.ptp([link.to_reference(logit[:, r], r) for r in range(4)], axis=0).max())

    assert 3 * disagreement(robust) < disagreement(plain)


def test_ranks_are_counted_between_anchors():
    """Request 0: 0 > [2] > 1; request 1: 3 > 4 > [2] > 5. The anchor 2 has 3 of 5 above it."""
    group = packing([0, 1, 2], [3, 4, 5], anchors=[2])
    first = collect_first_round(
        group, [np.array([0.9, 0.1, 0.5]), np.array([0.30, 0.29, 0.1, 0.2])]
    )

    splitters, share = fit_rank_link(first)

    assert splitters.above.tolist() == [[1, 2]]
    assert splitters.group_share.tolist() == [3 / 5]
    assert share == pytest.approx([0.3, 0.8, 0.6, 0.15, 0.45, 0.8])


def test_a_splitter_among_equal_scores_is_placed_by_the_other_requests():
    """Request 1 gives 0 to the anchor and four documents; in request 0 it is the best of all."""
    group = packing([0, 1, 2, 3, 4], [5, 6, 7, 8], anchors=[0])
    first = collect_first_round(group, [np.array([0.9, 0.4, 0.3, 0.2, 0.1]), np.zeros(5)])

    splitters, _ = fit_rank_link(first)

    assert splitters.above[0] == pytest.approx([0, 0], abs=1e-3)


def test_ranks_at_home_do_not_count_anchors_of_other_homes():
    group = packing([0, 3], [1, 2], anchors=[0])

    first = collect_first_round(group, [np.array([0.2, 0.7]), np.array([0.3, 0.3, 0.9])])

    assert first.home.tolist() == [0, 1, 1, 0]
    assert first.rank.tolist() == [1, 0, 1, 0]
    assert first.score.tolist() == [0.2, 0.3, 0.3, 0.7]
    assert first.anchor_scores.tolist() == [[0.2, 0.9]]


def test_an_anchor_whose_home_failed_gets_the_next_request_as_home():
    group = packing([0, 3], [1, 2], anchors=[0])

    first = collect_first_round(group, [None, np.array([0.3, 0.2, 0.9])])

    assert first.home.tolist() == [0, 0, 0, -1]
    assert first.rank.tolist() == [0, 1, 2, 4]
    assert first.failed == 1


def comparability(distort, noise: float, seed: int, count: int = 3000):
    documents = draw_documents(np.random.default_rng(seed), count)
    service = Service(documents, seed, distort, noise)
    group = pack_documents(documents)
    first = collect_first_round(group, [service(request) for request in group.requests()])
    return compare(first, LogitScale.of(first.all_scores))


def test_equal_scores_everywhere_are_comparable():
    verdict = comparability(none, 0, 0)

    assert verdict.comparable
    assert verdict.p_lines == pytest.approx(1)
    assert verdict.rms_before < 0.01


def test_the_share_of_false_alarms_is_within_the_level():
    """With the largest tolerated noise about one comparable group in a hundred is linked."""
    alarms = sum(not comparability(none, 0.2, seed, 1500).comparable for seed in range(100))

    assert alarms <= 4


def test_noise_beyond_tolerance_and_shifts_are_detected():
    assert comparability(none, 0.6, 0).p_noise < 1e-6
    assert comparability(affine, 0.05, 0).p_lines < 1e-6


@pytest.mark.parametrize(("shift", "comparable"), [(0.0, True), (0.01, False)])
def test_too_few_anchors_for_the_f_test_compare_only_if_they_repeat_exactly(
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
    while isinstance(outcome, FinalRequest):
        outcome = outcome.settle(1 / (1 + np.exp(-logit[outcome.documents])))

    assert (outcome.status == "comparable") is comparable
