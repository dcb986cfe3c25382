"""Decide with few exact counts whether documents fit a budget of tokens.

Bounds are two to four times the counts, yet most groups fit by their bounds alone. Of most others
a few exact counts, of the largest documents, show that the group fits.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import IntArray
from pipeline.tokens.counter import Counter


class Settled(Struct, frozen=True):
    """The tokens of documents, as far as they were counted.

    Attributes:
        weights: The count or the bound of each document, in order, at most the cap.
        fits: Whether the sum of the weights is within the budget. If not, all weights are exact,
            or all are bounds where counting is not possible.
        num_counted: How many documents were counted.
    """

    weights: IntArray
    fits: bool
    num_counted: int


def settle(
    texts: Sequence[str], bounds: IntArray, counter: Counter, *, budget: int, cap: int
) -> Settled:
    """Count texts in descending order of their bounds until the sum is within the budget.

    After the first text, count in one go as many as are needed if counts stay as far below their
    bounds as so far, and an eighth more: smaller texts gain less, and a second round costs more.

    Args:
        texts: The documents.
        bounds: int64, their upper bounds, in the same order.
        counter: Counts texts; not used if it cannot count exactly.
        budget: Tokens that the documents may have together.
        cap: Tokens that one document may have; the service cuts the rest.
    """
    weights = np.minimum(bounds, cap)
    over, num_counted = int(weights.sum()) - budget, 0
    if counter.exact_available:
        largest_first = np.argsort(-weights, kind="stable")
        gained, num_next = 0, 1
        while over > 0 and num_counted < len(weights):
            chosen = largest_first[num_counted : num_counted + num_next]
            counts = counter.counts([texts[index] for index in chosen.tolist()], cap)
            gain = int(weights[chosen].sum() - counts.sum())
            weights[chosen] = counts
            over, gained, num_counted = over - gain, gained + gain, num_counted + len(chosen)
            needed = -(-over * num_counted // gained) if gained else 2 * num_counted
            num_next = max(1, needed + needed // 8)
    return Settled(weights, over <= 0, num_counted)
