"""Count the tokens of a group's units as far as packing needs it, and pack them.

Most groups fit one request by their bounds, and for most large ones the number of documents decides
how many requests they take. Then a few exact counts, or none, show that the tokens fit.
"""

from typing import Final

import numpy as np
from msgspec.structs import replace

from pipeline.core.arrays import IntArray
from pipeline.planning.packing import Packing, pack
from pipeline.planning.request_limits import RequestLimits
from pipeline.planning.units import Units
from pipeline.tokens.counter import Counter
from pipeline.tokens.policies import CountingPolicy
from pipeline.tokens.settling import settle

_USABLE_OF_SEVERAL: Final = 0.9
"""Usable share of the tokens of several requests; anchors and unequal requests take the rest."""


class UnitPacker:
    """Counts and packs units.

    Args:
        policy: How the model's tokens follow from Qwen tokens.
        counter: Counts Qwen tokens.
        cut_at: Qwen tokens that one unit may have; the service cuts the rest.
        anchors: Whether several requests share anchors.
    """

    def __init__(
        self, policy: CountingPolicy, counter: Counter, *, cut_at: int, anchors: bool
    ) -> None:
        self._policy = policy
        self._counter = counter
        self._cut_at = cut_at
        self._anchors = anchors

    def weights(self, tokens: IntArray, sizes: IntArray) -> IntArray:
        """Return upper bounds of the model's own tokens, by Qwen tokens and bytes of texts."""
        # The policy needs an upper bound of the code points, and bytes are never fewer.
        return self._policy.document_weights(tokens, sizes)

    def suffice(self, units: Units, limits: RequestLimits) -> bool:
        """Return whether exact counts, which are lower, would hardly lead to fewer requests.

        They still may where anchors or unequal documents take more than the rest of the limit.
        """
        weights = self.weights(units.tokens, units.sizes)
        total = int(weights.sum()) + len(weights) * limits.pair_tokens
        usable = _usable_share(len(weights), limits) * limits.max_tokens
        return total <= usable and int(weights.max(initial=0)) <= limits.tokens_alone

    def settled(self, units: Units, limits: RequestLimits) -> Units:
        """Return the units with their tokens counted as far as packing needs it."""
        if self.suffice(units, limits):
            return units
        usable = int(_usable_share(len(units), limits) * limits.max_tokens)
        budget = self._policy.documents_budget(usable, len(units), limits.pair_tokens)
        units = self._counted(units, budget)
        if self.suffice(units, limits):
            return units
        return self._counted(units, budget=0)

    def _counted(self, units: Units, budget: int) -> Units:
        """Return the units with the largest counted until their tokens are within a budget."""
        open_units = np.flatnonzero(~units.exact)
        settled = settle(
            units.texts(open_units),
            units.tokens[open_units],
            self._counter,
            budget=budget - int(units.tokens[units.exact].sum()),
            cap=self._cut_at,
        )
        tokens, exact = units.tokens.copy(), units.exact.copy()
        tokens[open_units] = settled.weights
        all_counted = self._counter.exact_available and not settled.fits
        exact[open_units] = all_counted | (settled.weights < units.tokens[open_units])
        return replace(units, tokens=tokens, exact=exact)

    def packed(
        self,
        units: Units,
        sizes: IntArray,
        limits: RequestLimits,
        places: IntArray | None = None,
    ) -> tuple[Units, Packing]:
        """Return the units in the fewest requests; count more of them if that may save requests.

        Args:
            units: What is scored.
            sizes: Bytes of each unit in a body.
            limits: What a request may hold.
            places: Places that each unit takes in a request; by default one.
        """
        weights = self.weights(units.tokens, units.sizes)
        packing = pack(weights, sizes, limits, anchors=self._anchors, places=places)
        if len(packing.homes) <= packing.fewest_by_documents or units.exact.all():
            return units, packing
        units = self._counted(units, budget=0)
        weights = self.weights(units.tokens, units.sizes)
        return units, pack(weights, sizes, limits, anchors=self._anchors, places=places)


def _usable_share(num_documents: int, limits: RequestLimits) -> float:
    """Return the tokens that documents may have without costing a request, in requests."""
    by_documents = -(-num_documents // limits.max_documents)
    return by_documents if by_documents <= 1 else _USABLE_OF_SEVERAL * by_documents
