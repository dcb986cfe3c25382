"""The budget of a session: its limit holds for its outputs over all runs, earlier ones too."""

from collections.abc import Awaitable, Callable

from pipeline.service.cost_budget import CostBudget
from pipeline.service.run_budget import RunBudget


class SessionBudget:
    """Gives each run its share of a session's budget.

    Args:
        limit_usd: What may be spent; None for any amount.
        usd_per_unit: The price of a billed unit.
        earlier_usd: What was spent before; None: what earlier runs on the session's outputs spent.

    Attributes:
        shared: What all runs spend from.
    """

    def __init__(
        self, limit_usd: float | None, usd_per_unit: float, earlier_usd: float | None
    ) -> None:
        self.shared = CostBudget(limit_usd, usd_per_unit)
        self.shared.add_earlier(earlier_usd or 0.0)
        self._counts_outputs = earlier_usd is None
        self._counted_usd: dict[str, float] = {}
        self._shares: dict[str, list[RunBudget]] = {}

    def begin(
        self, output: str, earlier_usd: float, state: Callable[[], Awaitable[None]]
    ) -> RunBudget:
        """Return the share of a run.

        Args:
            output: Its output.
            earlier_usd: What was spent on the output before, by this session too.
            state: Writes what the run may spend where it lasts; called before it is spent.
        """
        share = RunBudget(self.shared, state)
        if self._counts_outputs:
            shares = self._shares.setdefault(output, [])
            known_usd = self._counted_usd.get(output, 0.0) + sum(one.spent_usd for one in shares)
            new_usd = max(earlier_usd - known_usd, 0.0)
            self._counted_usd[output] = self._counted_usd.get(output, 0.0) + new_usd
            self.shared.add_earlier(new_usd)
            shares.append(share)
        return share
