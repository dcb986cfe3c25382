"""A taker's own ledger, for times without the leaser: slots at the share that it was promised."""

from pipeline.service.throttle.leases.ledger import Ledger
from pipeline.service.throttle.leases.messages import Ask, Grant, LeaseTimes, Report
from pipeline.service.throttle.leases.slot_queue import HeldSlot
from pipeline.service.throttle.leases.slot_source import SlotSource

_OF_SHARE = 0.95
"""Without the leaser, nothing keeps the takers' moments apart."""
_OVER_IN_A_SECOND = 1.05


class OwnLedger:
    """Make slots at a rate at which the takers, each on its own, together stay within the quota.

    Several takers may send at the same moment, so one request a second is left out for each taker.

    Args:
        number: Of this source of slots; no other has it.
        leased: The leaser's last answer, which promises a share.

    Attributes:
        source: Of the slots.
        requests_per_s: The rate of requests; None for no limit.
        tokens_per_s: The rate of tokens.
    """

    def __init__(self, number: int, leased: Grant) -> None:
        share, requests, tokens = leased.share, leased.requests_per_s, leased.tokens_per_s
        if requests is not None:
            most = min(_OF_SHARE * requests, _OVER_IN_A_SECOND * requests - leased.takers)
            requests = share * max(most, requests / 2)
        self.source = SlotSource(number, Grant(0.0), Report(1))
        self.requests_per_s = requests
        self.tokens_per_s = None if tokens is None else _OF_SHARE * share * tokens
        self._has_share = share > 0
        self._ledger = Ledger(
            self.requests_per_s, self.tokens_per_s, times=LeaseTimes(gather_s=0.0)
        )

    def ask(self, now: float, wants: list[float]) -> list[HeldSlot]:
        """Return new slots; none where no share was promised.

        Args:
            now: The time by the clock of the event loop.
            wants: Expected tokens of each request that waits for a slot, in order.
        """
        if not self._has_share:
            return []
        source = self.source
        report, source.report = source.report, Report(source.report.number + 1)
        ask = Ask("own", None, None, wants, report, epoch=source.grant.epoch)
        source.grant = self._ledger.ask(now, ask)
        ahead_s = now - source.grant.now
        return [HeldSlot(slot.at + ahead_s, slot, source) for slot in source.grant.slots]
