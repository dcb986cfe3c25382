"""Finds out with as few exact counts as it can whether documents fit a budget of tokens.

Bounds are two to four times the counts, yet most groups fit by their bounds alone; in most others a
few exact counts of the largest documents show that the group fits.
"""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import IntArray
from pipeline.tokens.bounds import Texts


class Settled(Struct, frozen=True):
    """What is known of the documents' tokens when their fit is decided.

    Attributes:
        weights: For each document, in order, its count or its bound, at most the cap.
        fits: Whether the sum of the weights is within the budget; if not, they are all exact
            (all bounds, where counting is not possible).
        num_counted: How many of them were counted.
    """

    weights: IntArray
    fits: bool
    num_counted: int


def settle(
    texts: "Sequence[str] | Texts",
    bounds: IntArray,
    count: Callable[[str, int], int] | None,
    *,
    budget: int,
    cap: int,
) -> Settled:
    """Count texts, those of the largest bounds first, until the sum is within the budget.

    Args:
        texts: The documents; null is counted as empty.
        bounds: Their upper bounds, in the same order.
        count: Counts a text exactly, up to a cap; None if that is not possible.
        budget: Tokens that the documents may have together.
        cap: Tokens that one document may have; the service cuts the rest.
    """
    weights = np.minimum(bounds, cap)
    total, num_counted = int(weights.sum()), 0
    if count is not None and total > budget:
        for index in np.argsort(-weights, kind="stable").tolist():
            exact = count(_text(texts, index), cap)
            total += exact - int(weights[index])
            weights[index] = exact
            num_counted += 1
            if total <= budget:
                break
    return Settled(weights, total <= budget, num_counted)


def _text(texts: "Sequence[str] | Texts", index: int) -> str:
    text = texts[index]
    return text if isinstance(text, str) else text.as_py() or ""
