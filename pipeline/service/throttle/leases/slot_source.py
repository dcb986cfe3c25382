"""A source of a taker's slots, and the reports to it."""

from msgspec import Struct

from pipeline.service.throttle.leases.messages import (
    Grant,
    Limit,
    Refused,
    Report,
    Served,
    Slot,
)

_NUMBER_BITS = 32


class SlotSource(Struct, eq=False):
    """The leaser, or a ledger of our own.

    Attributes:
        number: The number of the source; no other source has versions with it.
        grant: Its last answer.
        report: The report that the next message brings it.
    """

    number: int
    grant: Grant
    report: Report

    def version(self, limit: Limit) -> int:
        """Return the version of a rate; no two sources have the same one."""
        version = self.grant.tokens_version if limit == "tokens" else self.grant.requests_version
        return (self.number << _NUMBER_BITS) + version

    def served(self, limit: Limit, amount: float, version: int) -> None:
        """Report that the service served a request that was admitted under a version."""
        number, version = divmod(version, 1 << _NUMBER_BITS)
        if number != self.number:
            return
        for one in self.report.served:
            if one.limit == limit and one.version == version:
                one.amount += amount
                return
        self.report.served.append(Served(limit, version, amount))

    def refused(self, limit: Limit, version: int, pause_s: float) -> bool:
        """Report that the service refused a request; return whether this is new."""
        if version != self.version(limit):
            return False
        version %= 1 << _NUMBER_BITS
        if any(one.limit == limit and one.version == version for one in self.report.refused):
            return False
        self.report.refused.append(Refused(limit, version, pause_s))
        return True

    def unused(self, slot: Slot) -> None:
        """Report that nothing was sent in a slot."""
        self.report.unused.append(slot)

    def correct(self, slot: Slot, difference: float) -> None:
        """Report so many tokens more than a slot was given for."""
        if difference:
            self.report.corrections.append((slot.at, difference))
