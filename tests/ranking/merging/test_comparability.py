"""The tests of comparability: their level, and what they detect."""

import numpy as np
import pytest
from support.merging_world import Service, affine, draw_documents, none, pack_documents

from pipeline.planning.packing import RequestLimits, pack
from pipeline.ranking.merging.comparability import compare
from pipeline.ranking.merging.final_request import FinalRequest
from pipeline.ranking.merging.first_round import collect_first_round
from pipeline.ranking.merging.logit_scale import LogitScale
from pipeline.ranking.merging.merge import merge


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
