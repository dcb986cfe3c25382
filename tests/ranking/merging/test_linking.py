"""Links: how far the lines of requests may be off, and the range of linked scores."""

import numpy as np
import pytest
from support.merging_world import packing_of

from pipeline.ranking.merging.first_round import FirstRound, collect_first_round
from pipeline.ranking.merging.linking import MAX_RMS, link
from pipeline.ranking.merging.scale import LinearScale, LogOddsScale


def first_round(anchors: np.ndarray, others: np.ndarray) -> FirstRound:
    """Return the answers to anchors, float64[k, C], and others, float64[m, C], by request.

    The first request is the home of all anchors.
    """
    (k, num_requests), m = anchors.shape, len(others)
    homes = [[*range(k)], *([] for _ in range(num_requests - 1))]
    for request, home in enumerate(homes):
        home += range(k + request * m, k + (request + 1) * m)
    answers = [
        np.concatenate((anchors[:, r], others[:, r]) if not r else (others[:, r], anchors[:, r]))
        for r in range(num_requests)
    ]
    return collect_first_round(packing_of(*homes, anchors=[*range(k)]), answers)


def beside_lines(common: np.ndarray, num_requests: int, seed: int) -> np.ndarray:
    """Return deviations that change no anchor's mean and no line of a request, float64[k, C]."""
    k = len(common)
    cells = np.arange(k * num_requests).reshape(k, num_requests)
    design = []
    for at in (*cells, *cells.T):
        design.append(np.zeros(cells.size))
        design[-1][at] = 1
    for request in range(num_requests):
        design.append(np.zeros(cells.size))
        design[-1][cells[:, request]] = common - common.mean()
    drawn = np.random.default_rng(seed).normal(size=cells.size)
    table = np.array(design).T
    return (drawn - table @ np.linalg.lstsq(table, drawn, rcond=None)[0]).reshape(cells.shape)


@pytest.mark.parametrize("resolution", [0.0, 0.3])
@pytest.mark.parametrize(("k", "num_requests", "freedom"), [(8, 3, 12), (8, 2, 6), (3, 2, 1)])
@pytest.mark.parametrize(("factor", "stable"), [(0.96, True), (1.04, False)])
def test_an_affine_link_is_stable_if_its_residuals_are_small_beyond_rounding(
    k: int, num_requests: int, freedom: int, factor: float, stable: bool, resolution: float
) -> None:
    """No document is near an anchor, so the affine model's error in places is small in any case.

    That of the rank model is not: requests have different shares of their documents in each gap.
    """
    common = 3.0 * np.arange(k)
    pattern = beside_lines(common, num_requests, 3)
    allowed = MAX_RMS**2 + resolution**2 / 12  # rounding errors of the scale's resolution are fine
    pattern *= factor * np.sqrt(freedom * allowed / (pattern**2).sum())
    gaps = np.random.default_rng(1).choice(k + 1, (60, num_requests))
    others = 3.0 * np.sort(gaps, axis=0) - 1.5

    linked = link(first_round(common[:, None] + pattern, others), LinearScale(resolution, 0, 1))

    assert linked.model == "affine"
    assert linked.e_affine < 0.05
    assert linked.stable is stable


def test_linked_scores_stay_in_the_range_of_the_scores() -> None:
    """The best and the worst documents of requests that are shifted would be beyond its ends."""
    others = np.linspace(0, 1, 40)[:, None] ** [1, 2, 3]
    anchors = np.linspace(0.1, 0.8, 8)[:, None] + [0.0, 0.05, 0.1]

    linked = link(first_round(anchors, others), LinearScale(0.0, 0.5, 0.1))

    assert linked.model == "affine"
    assert (linked.score.min(), linked.score.max()) == (0, 1)
    assert np.count_nonzero(linked.score == 0) > 1 < np.count_nonzero(linked.score == 1)


def test_a_saturated_anchor_is_left_out_of_the_affine_link_alone() -> None:
    """It is the first one, and has the same score in all requests."""
    scale = LogOddsScale(0.01, 0.0, 1.0)
    values = np.linspace(-3, 3, 8)[:, None] * [0.8, 1, 1.2] + [-0.5, 0, 0.5]
    others = np.linspace(-3, 3, 40)[:, None] * [0.8, 1, 1.2]
    anchors = np.concatenate(([[1.0, 1.0, 1.0]], scale.score(values)))

    linked = link(first_round(anchors, scale.score(others**3 / 9)), scale)

    assert linked.model == "affine"
    assert linked.e_affine < 0.01
