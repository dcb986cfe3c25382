"""One run's share of a cost budget, stated in a lasting place before it is spent.

A run that is killed cannot say what it spent. So it says beforehand what it may spend: it states an
amount, and raises it before its reservations exceed it. The next run counts the amount that was
stated last. Statements grow while the run spends quickly, so that one is made about every second.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pipeline.service.cost_budget import CostBudget, Reservation

_STATED_FOR_S: Final = 1.0
"""A statement that is used up sooner is followed by a larger one."""


async def _state_nowhere() -> None:
    """Write nothing."""


class RunBudget:
    """Reserves money of a budget for one run, which others may share.

    Args:
        budget: What may be spent, by all.
        state: Writes `at_most_usd` where it lasts; called before more is spent than it held last.
            By default nothing does.

    Attributes:
        has_limit: Whether anything must be reserved.
        spent_usd: What this run spent.
        at_most_usd: What this run may have spent by the next statement.
    """

    def __init__(
        self, budget: CostBudget, state: Callable[[], Awaitable[None]] = _state_nowhere
    ) -> None:
        self.spent_usd = self.at_most_usd = 0.0
        self.usd_per_unit = budget.usd_per_unit
        self.has_limit = budget.has_limit
        self._budget = budget
        self._state = state
        self._stated_usd = 0.0
        self._stated_at = float("-inf")
        self._margin = 1.0  # times what is reserved
        self._reserved_units = 0
        self._lock = asyncio.Lock()

    async def reserve(self, units: int) -> Reservation:
        """Set aside the most that a request can cost, and state it; see `CostBudget.reserve`.

        Raises:
            CostLimitReached: if the request could exceed the limit, whatever the others cost.
            RerankError: the one that `state` raises.
        """
        reservation = await self._budget.reserve(units)
        self._reserved_units += reservation.units
        try:
            if self._needed_usd() > self._stated_usd:
                await self._state_more()
        except BaseException:
            self.settle(reservation, 0.0)
            raise
        return reservation

    def settle(self, reservation: Reservation, spent_usd: float) -> None:
        """Replace a reservation by what the request cost, or may have cost."""
        self._budget.settle(reservation, spent_usd)
        self._reserved_units -= reservation.units
        self.spent_usd += spent_usd
        self.at_most_usd = max(self.at_most_usd, self.spent_usd)

    def usd(self, reservation: Reservation) -> float:
        """Return the most that a request can cost, by what was learned."""
        return self._budget.usd(reservation.units)

    def record_usage(self, units: int, billed: float) -> None:
        """Raise the bound if the service billed more than it allowed for."""
        self._budget.record_usage(units, billed)

    @property
    def is_waited_for(self) -> bool:
        """Whether requests wait for money, or for a statement of what they may cost."""
        return self._budget.is_exhausted or self._lock.locked()

    def end(self) -> None:
        """Withdraw the amount that was stated but not spent."""
        self.at_most_usd = self.spent_usd

    def _needed_usd(self) -> float:
        if not self._budget.has_limit:
            return 0.0
        return self.spent_usd + self._budget.usd(self._reserved_units)

    async def _state_more(self) -> None:
        async with self._lock:
            needed_usd = self._needed_usd()
            if needed_usd <= self._stated_usd:
                return
            now = asyncio.get_running_loop().time()
            used_soon = now - self._stated_at < _STATED_FOR_S
            self._margin = self._margin * 2 if used_soon else max(1.0, self._margin / 2)
            wanted_usd = needed_usd + self._margin * self._budget.usd(self._reserved_units)
            allowed_usd = self.spent_usd + max(self._budget.left_usd, 0.0)
            stated_usd = max(needed_usd, min(wanted_usd, allowed_usd))
            self.at_most_usd = max(self.at_most_usd, stated_usd)
            await self._state()
            self._stated_usd, self._stated_at = stated_usd, now
