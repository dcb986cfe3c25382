"""How far down the order of a request's documents is certified."""

import numpy as np

from pipeline.ranking.merging.final_request import settled_head


def test_all_places_are_certified_down_to_the_first_witness() -> None:
    head = settled_head(np.array([2, 5, 7, 8]), np.array([0.1, 0.9, 0.5, 0.7]), np.array([2, 7]))

    assert head.order.tolist() == [5, 8, 7, 2]
    assert head.certified == 3


def test_without_a_witness_all_places_are_certified() -> None:
    head = settled_head(np.array([2, 5, 7]), np.array([0.1, 0.9, 0.5]), np.empty(0, np.int64))

    assert head.order.tolist() == [5, 7, 2]
    assert head.certified == 3
