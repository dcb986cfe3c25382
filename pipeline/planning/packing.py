"""Packing of one group into the fewest requests within the service's limits.

Every document has exactly one *home* request. If a group needs several requests, a few short
*anchors* go into each of them, so that the answers can be compared afterwards. The other documents
are dealt in serpentine order: 0 1 2 2 1 0 0 1 2 ... Every request is then an equivalent sample of
the group ("spiralled forms" in test equating), never a block of better or worse candidates.

Invariant: no request exceeds its limits, anchors included.
"""

from bisect import bisect_left, insort
from functools import cached_property
from typing import Final

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import IntArray
from pipeline.planning.request_limits import RequestLimits

NO_HOME: Final = -1
"""The home of a document that has none."""
MAX_ANCHORS: Final = 8
"""Enough to test the scale of every request and to link it; more bring no measurable gain."""
MIN_ANCHORS: Final = 3
"""With fewer it cannot be tested whether a straight line is the right link."""
ANCHOR_SHARE: Final = 1 / 21
"""Share of a request that anchors may use. The remaining 20/21 hold a group in at most 1.05 times
the requests that it needs without anchors, plus one for rounding up."""
MAX_ANCHOR_SHARE: Final = 1 / 4
"""Share of a request that `MIN_ANCHORS` anchors may use when all documents are large."""


class Packing(Struct, frozen=True, eq=False, dict=True):
    """The requests of one group; documents are 0..n-1 in key order, best first.

    Attributes:
        homes: One ascending index array per request; together they hold every document once.
        anchors: The documents in every request, ascending. Empty for a single request, where scores
            need not be compared, or where all documents are too large.
        tokens: Tokens of each document, int64[n].
        sizes: Bytes of each document, int64[n].
        limits: The limits of each request.
        dealt: Whether the homes are equivalent samples of the group.
        own_places: Places that each document takes in a request, int64[n]; None for one each.
    """

    homes: tuple[IntArray, ...]
    anchors: IntArray
    tokens: IntArray
    sizes: IntArray
    limits: RequestLimits
    dealt: bool = True
    own_places: IntArray | None = None

    @property
    def places(self) -> IntArray:
        """Places that each document takes in a request, int64[n]."""
        return np.ones_like(self.tokens) if self.own_places is None else self.own_places

    @property
    def fewest_by_documents(self) -> int:
        """How many requests the documents take with these anchors if nothing else limits them."""
        of_anchors = int(self.places[self.anchors].sum())
        most_homes = max(self.limits.max_documents - of_anchors, 1)
        return -(-(int(self.places.sum()) - of_anchors) // most_homes)

    @cached_property
    def requests(self) -> tuple[IntArray, ...]:
        """The documents of each request: home documents, then the other anchors."""
        if not len(self.anchors):
            return self.homes
        return tuple(
            np.concatenate((home, np.setdiff1d(self.anchors, home, assume_unique=True)))
            for home in self.homes
        )

    def fit_one_request(self, documents: IntArray) -> bool:
        """Return whether these documents of the group fit one request."""
        return self.limits.fits(
            len(documents),
            int(self.tokens[documents].sum()),
            int(self.sizes[documents].sum()),
            num_places=int(self.places[documents].sum()),
        )


def pack(
    tokens: IntArray,
    sizes: IntArray,
    limits: RequestLimits,
    *,
    anchors: bool = True,
    places: IntArray | None = None,
) -> Packing:
    """Pack the documents of one group, in key order, into the fewest requests.

    There are at most 1.05 x max(ceil(documents / max_documents), ceil(tokens / max_tokens),
    ceil(bytes / max_bytes)) + 1 requests, anchors included, unless documents are so large that few
    fit a request.

    Args:
        tokens: Tokens of each document, within the service's limit of an item, int64[n].
        sizes: Bytes of each document as sent, int64[n].
        limits: What a request may hold.
        anchors: Whether several requests share anchors.
        places: Places that each document takes, int64[n]; by default one.

    Raises:
        ValueError: if a document does not fit a request alone.
    """
    everything = np.arange(len(tokens), dtype=np.int64)
    own_places = places
    places = np.ones_like(tokens) if places is None else places
    load, capacity = limits.load(places, tokens, sizes), limits.capacity
    shared = everything[:0]
    if (load.sum(axis=1, keepdims=True) <= capacity).all():
        homes = (everything,) if len(tokens) else ()
        return Packing(homes, shared, tokens, sizes, limits, own_places=own_places)
    too_large = (load > capacity).any(axis=0)
    if too_large.any():
        document = int(too_large.argmax())
        raise ValueError(
            f"document {document} does not fit a request alone: "
            f"{load[1, document]} tokens and {load[2, document]} bytes "
            f"of {capacity[1, 0]} and {capacity[2, 0]}"
        )
    if anchors:
        shared = choose_anchors(load, capacity)
        capacity = capacity - load[:, shared].sum(axis=1, keepdims=True)
        load[:, shared] = 0
    return Packing(_deal(load, capacity), shared, tokens, sizes, limits, own_places=own_places)


def choose_anchors(load: IntArray, capacity: IntArray) -> IntArray:
    """Choose the documents that every request will hold, at most `MAX_ANCHORS`; ascending.

    Anchors are dense at the head, where the ranking matters, and sparse towards the tail: anchor j
    of k is the document of fewest tokens near the place (n - 1) (j / (k - 1))^2. There are fewer if
    they would exceed their share of a request, and none if even `MIN_ANCHORS` would take more than
    a quarter of a request or leave no space for some document.

    Args:
        load: What each document takes, int64[3, n].
        capacity: What a request may hold, int64[3, 1].
    """
    num_documents = load.shape[1]
    for count, part, share in (
        *((count, 20, ANCHOR_SHARE) for count in range(MAX_ANCHORS, 4, -1)),
        *((count, 4, ANCHOR_SHARE) for count in range(MAX_ANCHORS, MIN_ANCHORS - 1, -1)),
        (MIN_ANCHORS, 4, MAX_ANCHOR_SHARE),
    ):
        chosen = _cheapest_near(load[1], count, max(3, num_documents // (part * count)))
        taken = load[:, chosen].sum(axis=1, keepdims=True)
        others = np.delete(load, chosen, axis=1)
        if (
            num_documents > count
            and (taken <= share * capacity).all()
            and (others + taken <= capacity).all()
        ):
            return chosen
    return np.empty(0, dtype=np.int64)


def _cheapest_near(cost: IntArray, count: int, reach: int) -> IntArray:
    """Return the document of least cost near each of `count` places, see `choose_anchors`."""
    last = len(cost) - 1
    left = cost.copy()
    for j in range(count):
        place = last * j * j // (count - 1) ** 2
        start = max(0, place - reach)
        left[start + int(left[start : place + reach + 1].argmin())] = np.iinfo(np.int64).max
    return np.flatnonzero(left != cost)


def _deal(load: IntArray, capacity: IntArray) -> tuple[IntArray, ...]:
    """Deal documents to the fewest requests, in serpentine order if that costs no request."""
    bound = int(np.max(-(-load.sum(axis=1) // np.maximum(capacity[:, 0], 1))))
    home = _serpentine(load, capacity, bound)
    num_requests = _settle_overflow(home, load, capacity, bound)
    if num_requests > bound:
        home = np.full_like(home, NO_HOME)
        num_requests = _settle_overflow(home, load, capacity, bound)  # best fit, not serpentine
        for attempt in (bound + 1, num_requests):
            spiralled = _serpentine(load, capacity, attempt)
            needed = _settle_overflow(spiralled, load, capacity, attempt)
            if needed == attempt <= num_requests:
                home, num_requests = spiralled, attempt
                break
    by_home = np.argsort(home, kind="stable")
    return tuple(np.split(by_home, np.searchsorted(home[by_home], np.arange(1, num_requests))))


def _serpentine(load: IntArray, capacity: IntArray, num_requests: int) -> IntArray:
    """Deal documents in serpentine order, int64[n]; `NO_HOME` once a request would overflow."""
    num_documents = load.shape[1]
    rounds = -(-num_documents // num_requests)
    dealt = np.arange(rounds * num_requests).reshape(rounds, num_requests)  # one column per request
    dealt[1::2] = dealt[1::2, ::-1]
    padded = np.zeros((3, dealt.size), dtype=np.int64)
    padded[:, :num_documents] = load
    fits = (padded[:, dealt].cumsum(axis=1) <= capacity[..., None]).all(axis=0)
    home = np.empty(dealt.size, dtype=np.int64)
    home[dealt] = np.where(fits, np.arange(num_requests), NO_HOME)
    return home[:num_documents]


def _settle_overflow(home: IntArray, load: IntArray, capacity: IntArray, num_requests: int) -> int:
    """Assign each document without a home to the fullest request that holds it, largest first.

    Returns:
        The number of requests; it grows if some document fits none of them.
    """
    room = np.repeat(capacity.T, num_requests, axis=0)
    np.subtract.at(room, home[home != NO_HOME], load.T[home != NO_HOME])
    left = room.tolist()  # places, tokens, bytes of each request
    by_tokens = sorted((tokens, request) for request, (_, tokens, _) in enumerate(left))
    overflow = np.flatnonzero(home == NO_HOME)
    share = (load[:, overflow] / np.maximum(capacity, 1)).max(axis=0)
    for document in overflow[np.argsort(-share, kind="stable")].tolist():
        count, tokens, size = load[:, document].tolist()
        place = bisect_left(by_tokens, (tokens, 0))
        while place < len(by_tokens):
            documents_left, tokens_left, bytes_left = left[by_tokens[place][1]]
            if documents_left >= count and bytes_left >= size:
                _, request = by_tokens.pop(place)
                break
            place += 1
        else:
            request = len(left)
            documents_left, tokens_left, bytes_left = capacity[:, 0].tolist()
            left.append([])
        left[request] = [documents_left - count, tokens_left - tokens, bytes_left - size]
        insort(by_tokens, (left[request][1], request))
        home[document] = request
    return len(left)
