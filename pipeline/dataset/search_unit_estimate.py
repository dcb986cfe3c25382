"""Estimate the search units of a plan, from the groups whose texts are counted.

A group of short texts needs no count. Of the other groups, every n-th is counted text by text;
those between are assumed to exceed the units of short texts by the same factor.
"""

from typing import Final

import numpy as np

from pipeline.core.arrays import IntArray
from pipeline.core.billing import SearchUnits
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.planning.search_units import count_chunks, count_search_units
from pipeline.tokens.policies import POLICIES

SAMPLE_SIZE: Final = 20_000
"""About how many texts are counted."""


class SearchUnitEstimate:
    """Adds up search units.

    Args:
        planner: Plans the groups.
        rule: How units are counted.
        num_texts: About how many texts will be added.
    """

    def __init__(self, planner: Planner, rule: SearchUnits, num_texts: int) -> None:
        self._planner = planner
        self._rule = rule
        self._every = max(1, num_texts // SAMPLE_SIZE)
        self._seen = 0
        self._exact = self._uncounted = 0
        self._sample_least = self._sample_units = 0

    def add(self, group: Plan) -> None:
        """Add the first-round requests of a group."""
        packing = group.packing
        requests = packing.requests
        sizes = np.array([len(units) for units in requests], np.int64)
        least = int(count_search_units(self._rule, sizes).sum())
        bounds = count_chunks(self._rule, packing.limits.query_tokens, packing.tokens)
        if (bounds == 1).all():
            self._exact += least
            return
        self._seen += 1
        if (self._seen - 1) % self._every:
            self._uncounted += least
            return
        chunks = self._chunks(group)
        sums = np.array([int(chunks[units].sum()) for units in requests], np.int64)
        units = int(count_search_units(self._rule, sums).sum())
        self._exact += units
        self._sample_least += least
        self._sample_units += units

    def total(self) -> int:
        """Return the estimated search units of all that was added."""
        if not self._uncounted:
            return self._exact
        return self._exact + round(self._uncounted * self._sample_units / self._sample_least)

    def _chunks(self, group: Plan) -> IntArray:
        """Return how many times each unit of a group counts, by its tokens."""
        profile, counter = self._planner.settings.profile, self._planner.counter
        ratio, kept = POLICIES[profile.tokenizer].mean_ratio, profile.max_tokens_per_document
        counts = counter.counts(group.units.texts(np.arange(len(group.units))), kept)
        tokens = np.minimum(np.ceil(ratio * counts).astype(np.int64), kept)
        query_tokens = int(np.ceil(ratio * self._planner.exact_query_tokens(group)))
        return count_chunks(self._rule, query_tokens, tokens)
