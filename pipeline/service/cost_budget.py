"""Money: reserved before a request is sent, settled by what the service counted, never exceeded."""

import asyncio
from typing import Final

from pipeline.core.errors import CostLimitReached

_TEMPLATE_TOKENS: Final = 100
"""Instruction and template around each document, which some hosts bill (about 70 are published)."""


class CostBudget:
    """What may be spent, with reservations for the requests in flight.

    A reservation is an upper bound of what a request can cost. A request that only the
    reservations of others keep from being sent waits until they are settled, in order of arrival.

    Args:
        limit_usd: What may be spent; None for any amount.
        usd_per_token: The model's price.
    """

    def __init__(self, limit_usd: float | None, usd_per_token: float) -> None:
        self.usd_per_token = usd_per_token
        self._limit_usd = limit_usd
        self._spent_usd = 0.0
        self._reserved_usd = 0.0
        self._worst_ratio = 1.0
        self._turn = asyncio.Lock()
        self._settled = asyncio.Event()

    def __repr__(self) -> str:
        limit = "no limit" if self._limit_usd is None else f"of ${self._limit_usd:.4f}"
        return (
            f"<CostBudget spent ${self._spent_usd:.4f} reserved ${self._reserved_usd:.4f} {limit}>"
        )

    async def reserve(self, tokens: int, documents: int) -> float:
        """Set aside the most that a request can cost; return it in US dollars, for `settle`.

        Args:
            tokens: Upper bound of query_tokens x documents + sum(document_tokens).
            documents: Documents in the request.

        Raises:
            CostLimitReached: if the request could exceed the limit, whatever the others cost.
        """
        if self._limit_usd is None:
            return 0.0
        async with self._turn:
            while True:
                usd = self.usd_per_token * self._max_tokens(tokens, documents)
                if self._spent_usd + self._reserved_usd + usd <= self._limit_usd:
                    self._reserved_usd += usd
                    return usd
                if not self._reserved_usd:
                    raise CostLimitReached(
                        "one more request could exceed the allowed cost",
                        which="--max-cost",
                        found=f"${self._spent_usd:.4f} spent, up to ${usd:.4f} more",
                        expected=f"at most ${self._limit_usd:.4f}",
                        cure="raise it and run the same command again: what is paid is kept",
                    )
                self._settled.clear()
                await self._settled.wait()

    def settle(self, reserved_usd: float, spent_usd: float) -> None:
        """Replace a reservation by what the request cost, or may have cost."""
        self._spent_usd += spent_usd
        if self._limit_usd is None:
            return
        self._reserved_usd = max(self._reserved_usd - reserved_usd, 0.0)
        if self._reserved_usd < self.usd_per_token / 2:
            self._reserved_usd = 0.0  # a rounding error must not keep the last in line waiting
        self._settled.set()

    def record_usage(self, tokens: int, documents: int, total_tokens: int) -> None:
        """Raise the bound if the service counted more tokens than it allowed for."""
        if self._limit_usd is None:
            return
        bound = tokens + _TEMPLATE_TOKENS * documents
        self._worst_ratio = max(self._worst_ratio, total_tokens / bound if bound else 1.0)

    def _max_tokens(self, tokens: int, documents: int) -> float:
        return self._worst_ratio * (tokens + _TEMPLATE_TOKENS * documents)
