"""Money: reserved before a request is sent, settled by what the service counted, never exceeded.

Amounts are in billed units, of which the price is known: tokens or search units; see `Billing`.
"""

import asyncio
from typing import Final

from msgspec import Struct

from pipeline.core.errors import CostLimitReached

_OPEN_PER_ANSWER: Final = 2


class Reservation(Struct, frozen=True, eq=False):
    """An upper bound of what a request uses, known before it is sent; 0 without a limit."""

    units: int = 0


NOTHING: Final = Reservation()


class CostBudget:
    """A budget, with reservations for the requests in flight.

    A reservation is an upper bound of what a request can cost. If the service counts more than that
    for an answer, all reservations rise by as much, those of requests in flight too. Until answers
    have proved the bound few requests are in flight: one at first, two more with each answer.

    A request that would fit if others were settled waits for them, in order of arrival.

    Args:
        limit_usd: What may be spent; None for any amount.
        usd_per_unit: The price of a billed unit.

    Attributes:
        has_limit: Whether there is a limit; without one nothing is reserved.
        spent_usd: What was spent, by earlier runs too.
    """

    def __init__(self, limit_usd: float | None, usd_per_unit: float) -> None:
        self.usd_per_unit = usd_per_unit
        self.spent_usd = 0.0
        self.has_limit = limit_usd is not None
        self._limit_usd = limit_usd
        self._open: set[Reservation] = set()
        self._open_units = 0
        self._num_answers = 0
        self._worst_ratio = 1.0
        self._turn = asyncio.Lock()
        self._settled = asyncio.Event()

    def __repr__(self) -> str:
        limit = "no limit" if self._limit_usd is None else f"of ${self._limit_usd:.4f}"
        reserved_usd = self.usd(self._open_units)
        return f"<CostBudget spent ${self.spent_usd:.4f} reserved ${reserved_usd:.4f} {limit}>"

    @property
    def is_exhausted(self) -> bool:
        """Whether a request waits for others to be settled."""
        return self._turn.locked()

    @property
    def left_usd(self) -> float:
        """The amount that may still be spent; below 0 if the service counted more than bounds."""
        return (self._limit_usd or 0.0) - self.spent_usd

    def usd(self, reserved_units: int) -> float:
        """Return the most that this many reserved units can cost, by what was learned."""
        return self._worst_ratio * reserved_units * self.usd_per_unit

    def add_earlier(self, spent_usd: float) -> None:
        """Count what was spent before, which the limit holds for as well."""
        self.spent_usd += spent_usd

    async def reserve(self, units: int) -> Reservation:
        """Set aside the most that a request can cost, for `settle`.

        Args:
            units: Upper bound of what is billed for it.

        Raises:
            CostLimitReached: if the request could exceed the limit, whatever the others cost.
        """
        if self._limit_usd is None:
            return NOTHING
        reservation = Reservation(units)
        async with self._turn:
            while not self._may_open(reservation):
                if not self._open:
                    usd = self.usd(reservation.units)
                    raise CostLimitReached(
                        "one more request could exceed the allowed cost",
                        which="--max-cost",
                        found=f"${self.spent_usd:.4f} spent in all runs, up to ${usd:.4f} more",
                        expected=f"at most ${self._limit_usd:.4f}",
                        cure="raise it and run the same command again: what is paid is kept",
                    )
                self._settled.clear()
                await self._settled.wait()
            self._open.add(reservation)
            self._open_units += reservation.units
        return reservation

    def settle(self, reservation: Reservation, spent_usd: float) -> None:
        """Replace a reservation by what the request cost, or may have cost."""
        self.spent_usd += spent_usd
        if reservation in self._open:
            self._open.remove(reservation)
            self._open_units -= reservation.units
            self._settled.set()

    def record_usage(self, units: int, billed: float) -> None:
        """Raise the bound if the service billed more than it allowed for.

        Args:
            units: Upper bound of what was to be billed for a request.
            billed: What was billed.
        """
        self._num_answers += 1
        if units:
            self._worst_ratio = max(self._worst_ratio, billed / units)

    def _may_open(self, reservation: Reservation) -> bool:
        fits = self.usd(self._open_units + reservation.units) <= self.left_usd
        return fits and len(self._open) <= _OPEN_PER_ANSWER * self._num_answers
