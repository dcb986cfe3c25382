"""The first round by document: homes, ranks and failed requests."""

import numpy as np
from support.merging_world import packing_of

from pipeline.ranking.merging.first_round import collect_first_round


def test_ranks_at_home_do_not_count_anchors_of_other_homes():
    group = packing_of([0, 3], [1, 2], anchors=[0])

    first = collect_first_round(group, [np.array([0.2, 0.7]), np.array([0.3, 0.3, 0.9])])

    assert first.home.tolist() == [0, 1, 1, 0]
    assert first.rank.tolist() == [1, 0, 1, 0]
    assert first.score.tolist() == [0.2, 0.3, 0.3, 0.7]
    assert first.anchor_scores.tolist() == [[0.2, 0.9]]


def test_an_anchor_whose_home_failed_gets_the_next_request_as_home():
    group = packing_of([0, 3], [1, 2], anchors=[0])

    first = collect_first_round(group, [None, np.array([0.3, 0.2, 0.9])])

    assert first.home.tolist() == [0, 0, 0, -1]
    assert first.rank.tolist() == [0, 1, 2, 4]
    assert first.failed == 1
