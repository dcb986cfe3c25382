"""Decide with few exact counts whether documents fit a budget of tokens.

Bounds are two to four times the counts, yet most groups fit by their bounds alone. Of most others
a few exact counts, of the largest documents, show that the group fits.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import IntArray
from pipeline.tokens.bounds import Texts
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
    texts: "Sequence[str] | Texts", bounds: IntArray, counter: Counter, *, budget: int, cap: int
) -> Settled:
    """Count texts in descending order of their bounds until the sum is within the budget.

    Args:
        texts: The documents; null counts as empty.
        bounds: int64, their upper bounds, in the same order.
        counter: Counts a text; not used if it cannot count exactly.
        budget: Tokens that the documents may have together.
        cap: Tokens that one document may have; the service cuts the rest.
    """
    weights = np.minimum(bounds, cap)
    total, num_counted = int(weights.sum()), 0
    if total > budget and counter.exact_available:
        for index in np.argsort(-weights, kind="stable").tolist():
            exact = counter.count(_text(texts, index), cap)
            total += exact - int(weights[index])
            weights[index] = exact
            num_counted += 1
            if total <= budget:
                break
    return Settled(weights, total <= budget, num_counted)


def _text(texts: "Sequence[str] | Texts", index: int) -> str:
    text = texts[index]
    return text if isinstance(text, str) else text.as_py() or ""
