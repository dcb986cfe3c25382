"""How many levels of requests settle a head, by the sizes of a group alone.

A *level* of preliminary requests makes one list of several; it is needed where the witnesses of all
lists leave no space for enough other documents in one request. See `head` for what is sent.
"""

from typing import Final

import numpy as np

from pipeline.planning.packing import Packing
from pipeline.ranking.merging.final_request import with_margin

LEAST_DEPTH: Final = 10
"""Without a given depth at least so many places are to be settled."""
WITNESS_SHARE: Final = 3
"""At most one in so many documents of a preliminary request is a witness."""
FINAL_REQUESTS: Final = 2
"""The final request and a wider one."""


def most_further_requests(packing: Packing, depth: int | None) -> int:
    """Return how many requests may follow the first round at most, whatever its answers are."""
    num_lists, capacity, further = len(packing.homes), capacity_for_any(packing), FINAL_REQUESTS
    if num_lists <= 1:
        return 0
    enough = enough_documents(depth, capacity)
    while num_lists + enough > capacity and (num_sections := num_sections_of(num_lists, capacity)):
        further += num_sections
        num_lists = num_sections
    return further


def capacity_for_any(packing: Packing) -> int:
    """Return how many documents of a group fit one request, whichever they are."""
    limits = packing.limits
    places, tokens, sizes = (
        np.sort(of_each)[::-1].cumsum()
        for of_each in (packing.places, packing.tokens, packing.sizes)
    )
    count = np.arange(1, len(tokens) + 1)
    fits = (
        (places <= limits.max_documents)
        & (count * limits.pair_tokens + tokens <= limits.max_tokens)
        & (limits.query_bytes + sizes <= limits.max_bytes)
    )
    return int(fits.sum())


def enough_documents(depth: int | None, capacity: int) -> int:
    """Return how many documents a final request must hold besides witnesses."""
    least = LEAST_DEPTH if depth is None else min(depth, LEAST_DEPTH)
    return min(with_margin(least, "rank"), capacity - capacity // WITNESS_SHARE)


def num_sections_of(num_lists: int, capacity: int) -> int:
    """Return the number of sections of several lists; 0 if there would not be fewer."""
    in_one = capacity // WITNESS_SHARE
    return -(-num_lists // in_one) if in_one > 1 else 0
