"""Fast path: compute the order of many rankings at once."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pipeline.core.records import Ranking
from pipeline.planning.single_request import order_within_groups


def sort_rankings(rankings: Sequence[Ranking]) -> None:
    """Compute the orders that follow from the scores alone, in one pass over all of them.

    A ranking whose order is known or needs its tie-break is left as it is: `Ranking.order` then
    computes it alone.
    """
    waiting = [ranking for ranking in rankings if ranking.needs_sorting]
    if not waiting:
        return
    sizes = np.array([len(ranking.row_scores) for ranking in waiting])
    bounds = np.cumsum([0, *sizes])
    scores = np.concatenate([ranking.row_scores for ranking in waiting])
    rows = order_within_groups(-scores, sizes) - np.repeat(bounds[:-1], sizes)
    for ranking, (start, stop) in zip(waiting, pairwise(bounds.tolist()), strict=True):
        ranking.keep_order(rows[start:stop])
