"""The sizes of a group's requests, to compare them with refused ones.

What a service counts is not known exactly, so a size is a lower or an upper bound. Tokens are
counted only where a comparison depends on them.
"""

import asyncio

import numpy as np

from pipeline.core.arrays import IntArray
from pipeline.core.content import json_bytes, text_or_url
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.ranking.refused_sizes import RequestSize


class RequestSizes:
    """The sizes of requests for units of a plan.

    Args:
        plan: What is sent.
        planner: Counts tokens.
    """

    def __init__(self, plan: Plan, planner: Planner) -> None:
        self._plan = plan
        self._planner = planner
        self._exact: tuple[int, IntArray] | None = None

    async def count(self) -> None:
        """Count the tokens of the query and of all units, in a thread."""
        self._exact = await asyncio.to_thread(self._planner.exact_tokens, self._plan)

    def least(self, sent: IntArray) -> RequestSize:
        """Return a lower bound; its tokens are 0 unless they were counted."""
        tokens = 0
        if self._exact is not None:
            query_tokens, unit_tokens = self._exact
            # A service may count before it cuts long texts, or after.
            cap = self._plan.settings.profile.max_tokens_per_document
            pairs = len(sent) * min(query_tokens, cap)
            tokens = pairs + int(np.minimum(unit_tokens[sent], cap).sum())
        return RequestSize(len(sent), tokens, self._least_bytes(sent))

    def least_with_most_tokens(self, sent: IntArray) -> RequestSize:
        """Return `least` with an upper bound of the tokens, which needs no counting."""
        return RequestSize(len(sent), self._plan.num_tokens(sent), self._least_bytes(sent))

    def most(self, sent: IntArray) -> RequestSize:
        """Return an upper bound."""
        tokens = self._plan.num_tokens(sent)
        if self._exact is not None:
            query_tokens, unit_tokens = self._exact
            tokens = len(sent) * query_tokens + int(unit_tokens[sent].sum())
        contents = (self._plan.query, *self._plan.units.contents(sent))
        # The size of [query, [document, ...]] as JSON.
        num_bytes = sum(map(json_bytes, contents)) + len(sent) + 4
        return RequestSize(len(sent), tokens, num_bytes)

    def _least_bytes(self, sent: IntArray) -> int:
        query = len(text_or_url(self._plan.query).encode())
        return query + int(self._plan.units.sizes[sent].sum())
