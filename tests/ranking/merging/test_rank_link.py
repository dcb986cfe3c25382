"""The rank link, against counts made by hand."""

import numpy as np
import pytest
from support.merging_world import packing_of

from pipeline.ranking.merging.first_round import collect_first_round
from pipeline.ranking.merging.rank_link import fit_rank_link


def test_ranks_are_counted_between_anchors():
    """Request 0: 0 > [2] > 1; request 1: 3 > 4 > [2] > 5. The anchor 2 has 3 of 5 above it."""
    group = packing_of([0, 1, 2], [3, 4, 5], anchors=[2])
    first = collect_first_round(
        group, [np.array([0.9, 0.1, 0.5]), np.array([0.30, 0.29, 0.1, 0.2])]
    )

    splitters, share = fit_rank_link(first)

    assert splitters.above.tolist() == [[1, 2]]
    assert splitters.group_share.tolist() == [3 / 5]
    assert share == pytest.approx([0.3, 0.8, 0.6, 0.15, 0.45, 0.8])


def test_a_splitter_among_equal_scores_is_placed_by_the_other_requests():
    """Request 1 gives 0 to the anchor and four documents; in request 0 it is the best of all."""
    group = packing_of([0, 1, 2, 3, 4], [5, 6, 7, 8], anchors=[0])
    first = collect_first_round(group, [np.array([0.9, 0.4, 0.3, 0.2, 0.1]), np.zeros(5)])

    splitters, _ = fit_rank_link(first)

    assert splitters.above[0] == pytest.approx([0, 0], abs=1e-3)
