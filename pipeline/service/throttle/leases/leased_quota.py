"""The quota of requests and of tokens as `AdmissionControl` uses them, where slots are leased."""

from collections.abc import Sequence

from pipeline.core.settings import Pace
from pipeline.service.throttle.leases.holder import LeaseHolder
from pipeline.service.throttle.leases.messages import Limit
from pipeline.service.throttle.leases.slot_queue import HeldSlot
from pipeline.service.throttle.quota import Quota


def leased_quota(holder: LeaseHolder, pace: Pace) -> tuple["LeasedQuota", "LeasedQuota"]:
    """Return the limits of requests and of tokens that take the slots of `holder`."""
    return (
        LeasedQuota(holder, "requests", pace.requests_per_minute),
        LeasedQuota(holder, "tokens", pace.tokens_per_minute),
    )


class LeasedRate:
    """A rate that all takers share; what is learned about it is reported to the leaser.

    Attributes:
        is_measuring: Never: the leaser lowers the rate until something is served.
    """

    is_measuring = False

    def __init__(self, holder: LeaseHolder, limit: Limit) -> None:
        self._holder = holder
        self._limit = limit

    @property
    def version(self) -> int:
        """Changes with each refusal that lowered the rate."""
        return self._holder.source.version(self._limit)

    @property
    def current(self) -> float | None:
        """The rate of all takers together."""
        grant = self._holder.source.grant
        return grant.tokens_per_s if self._limit == "tokens" else grant.requests_per_s

    def granted_per_s(self, _: float) -> float:
        """Return this process's fair share of the rate."""
        return (self.current or 0.0) * self._holder.share

    def record_refusal(
        self,
        now: float,
        amount: float,
        version: int,
        *,
        pause_s: float,
        for_growth: bool = False,
    ) -> bool:
        """Report a refusal; return whether it says something new. See `AdaptiveRate`."""
        del now, amount, for_growth  # the leaser knows by itself what was served
        return self._holder.refused(self._limit, version, pause_s)


class LeasedQuota:
    """One limit of a shared quota; for one waiter at a time.

    Args:
        holder: Has the slots.
        limit: Which limit it is. The limit of requests takes the slots; the limit of tokens reports
            the tokens of the requests in them.
        per_minute: What the settings say.

    Attributes:
        rate: The rate that all takers share.
        windows: None: the leaser keeps them.
    """

    windows: tuple[()] = ()

    def __init__(self, holder: LeaseHolder, limit: Limit, per_minute: float | None) -> None:
        self._holder = holder
        self._slots = holder.slots
        self._limit = limit
        self._settings = per_minute
        self._operator: Quota | None = None
        self.rate = LeasedRate(holder, limit)

    def __repr__(self) -> str:
        return f"<LeasedQuota per_s={self.rate.current} {self._holder!r}>"

    @property
    def configured(self) -> float | None:
        """This process's fair share of the quota, in units a second; None if none is known."""
        current = self.rate.current
        return None if current is None else current * self._holder.share

    def set(self, per_minute: float | None) -> None:
        """Limit this process alone to another rate; the rate of the settings lifts the limit."""
        if per_minute == self._settings or per_minute is None:
            self._operator = None
        elif self._operator is None:
            self._operator = Quota(per_minute)
        else:
            self._operator.set(per_minute)

    def has_room(self, now: float, amount: float) -> bool:
        """Return whether `amount` fits; the slot has room for it."""
        del now, amount
        return True

    def is_ample(self, now: float, amount: float) -> bool:
        """Return whether estimates do not matter: there is no limit of tokens."""
        del now, amount
        return self.rate.current is None

    def enter(self, now: float, amount: float) -> tuple[HeldSlot, ...]:
        """Report what the request in the slot just taken is expected to take; return the slot."""
        del now
        held = self._slots.taken
        if held is None or self.rate.current is None:
            return ()
        held.correct(amount - held.slot.tokens)
        return (held,)

    def try_acquire(self, amount: float) -> bool:
        """Take a slot whose moment has come; return whether there was one."""
        if self._operator is not None and not self._operator.try_acquire(amount):
            return False
        if self._limit == "tokens" or self._slots.take() is not None:
            return True
        self._release_own(amount)
        return False

    async def acquire(self, amount: float) -> None:
        """Wait for a slot, and for its moment."""
        if self._operator is not None:
            await self._operator.acquire(amount)
        if self._limit == "requests":
            try:
                await self._slots.next()
            except BaseException:
                self._release_own(amount)
                raise

    def release(self, amount: float) -> None:
        """Undo an acquisition that was not used."""
        self._release_own(amount)
        if self._limit == "requests":
            self._slots.put_back()

    def _release_own(self, amount: float) -> None:
        if self._operator is not None:
            self._operator.release(amount)

    def record_wait(self, now: float) -> None:
        """Record that a request had to wait, which the leaser sees by itself."""

    def record_success(self, now: float, amount: float, version: int) -> None:
        """Report that so much was served, admitted under `version` of the rate."""
        del now
        self._holder.source.served(self._limit, amount, version)

    def correct(self, entries: Sequence[HeldSlot], difference: float) -> None:
        """Report the service's count, `difference` above the estimate."""
        for held in entries:
            held.correct(difference)
