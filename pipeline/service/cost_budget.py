"""Money: reserved before a request is sent, settled by what the service counted, never exceeded."""

import asyncio
from typing import Final

from pipeline.core.errors import CostLimitReached

_TEMPLATE_TOKENS: Final = 100
"""Instruction and template around each document, which some hosts bill (about 70 are published)."""


class CostBudget:
    """What may be spent in a run.

    A reservation is an upper bound of what a request can cost. Where only the reservations of
    others are in the way, it waits for them to be settled. First come, first served.

    Args:
        limit_usd: What may be spent.
        usd_per_token: The model's price.
    """

    def __init__(self, limit_usd: float, usd_per_token: float) -> None:
        self._limit_usd = limit_usd
        self._usd_per_token = usd_per_token
        self._spent_usd = 0.0
        self._reserved_usd = 0.0
        self._worst_ratio = 1.0
        self._turn = asyncio.Lock()
        self._settled = asyncio.Event()

    async def reserve(self, tokens: int, documents: int) -> float:
        """Set aside what a request can cost at most, in US dollars; give it back to `settle`.

        Args:
            tokens: Upper bound of query_tokens x documents + sum(document_tokens).
            documents: Documents in the request.

        Raises:
            CostLimitReached: if the request could exceed the limit, whatever the others cost.
        """
        async with self._turn:
            while True:
                usd = self._usd_per_token * self._bound(tokens, documents)
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
        self._reserved_usd = max(self._reserved_usd - reserved_usd, 0.0)
        self._spent_usd += spent_usd
        if self._reserved_usd < self._usd_per_token / 2:
            self._reserved_usd = 0.0  # no rounding error keeps the last in line waiting
        self._settled.set()

    def learn(self, tokens: int, documents: int, total_tokens: int) -> None:
        """Raise the bound, should the service count more tokens than was thought possible."""
        bound = tokens + _TEMPLATE_TOKENS * documents
        self._worst_ratio = max(self._worst_ratio, total_tokens / bound if bound else 1.0)

    def _bound(self, tokens: int, documents: int) -> float:
        return self._worst_ratio * (tokens + _TEMPLATE_TOKENS * documents)
