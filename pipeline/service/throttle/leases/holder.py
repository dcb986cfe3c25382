"""A taker of a shared quota: asks for slots while there are requests.

Without the leaser it continues at the share that it was promised, by a ledger of its own, and
returns to the leaser as soon as that answers. The leaser keeps the share of a silent taker free, so
all takers together stay within the quota; see `LeaseTimes` for how the times fit together.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cached_property

from pipeline.core.background import background
from pipeline.core.errors import OutageTooLong, SettingsError
from pipeline.core.events import log_event
from pipeline.service.throttle.leases.clock_offset import ClockOffset
from pipeline.service.throttle.leases.leaser import Leaser, LeaserLost
from pipeline.service.throttle.leases.messages import Ask, Grant, LeaseTimes, Limit, Report
from pipeline.service.throttle.leases.own_ledger import OwnLedger
from pipeline.service.throttle.leases.slot_queue import HeldSlot, SlotQueue
from pipeline.service.throttle.leases.slot_source import SlotSource

_log = logging.getLogger(__name__)

MAX_UNREACHED_S = 30.0
"""How long the leaser may be out of reach when a run begins."""
_JOIN_AGAIN_S = 1.0


class LeaseHolder:
    """Get the slots of one process; for one event loop.

    Args:
        leaser: Gives them.
        requests_per_s: The quota by this process's settings; None if none is known.
        tokens_per_s: The same for tokens.
        times: When what happens; the same for all takers and the leaser.

    Attributes:
        slots: The slots in hand.
    """

    def __init__(
        self,
        leaser: Leaser,
        requests_per_s: float | None,
        tokens_per_s: float | None,
        *,
        times: LeaseTimes | None = None,
    ) -> None:
        self._leaser = leaser
        self._quota = (requests_per_s, tokens_per_s)
        self._times = times or LeaseTimes()
        self.slots = SlotQueue(self._times.late_s, self.wake)
        self._name = uuid.uuid4().hex
        self._offset = ClockOffset()
        self._demand: Callable[[], Sequence[float]] = list
        self._leased = SlotSource(0, Grant(0.0), Report(1))
        self._own: OwnLedger | None = None
        self._num_sources = 1
        self._unacknowledged: Report | None = None
        self._heard = 0.0
        self._num_unmet = 0
        self._wanted, self._alone = asyncio.Event(), asyncio.Event()

    def __repr__(self) -> str:
        where = "own" if self._own else self._leaser.name
        return f"<LeaseHolder slots={len(self.slots)} from={where}>"

    @cached_property
    def now(self) -> Callable[[], float]:
        """The clock of the event loop."""
        return asyncio.get_running_loop().time

    @property
    def source(self) -> SlotSource:
        """The present source of slots."""
        return self._leased if self._own is None else self._own.source

    @property
    def share(self) -> float:
        """This process's fair share of the quota."""
        return 1.0 / self._leased.grant.takers

    def follow(self, demand: Callable[[], Sequence[float]]) -> None:
        """Ask for slots as `demand` says: expected tokens of each request that could be sent."""
        self._demand = demand

    def wake(self) -> None:
        """Ask soon: there are more requests."""
        self._wanted.set()

    @asynccontextmanager
    async def running(
        self,
        max_unreached_s: float = MAX_UNREACHED_S,
        check: Callable[[], object] = lambda: None,
    ) -> AsyncIterator[None]:
        """Take part while the body runs; give back what is left at its end.

        Args:
            max_unreached_s: How long the leaser may be out of reach before the body begins.
            check: Called while it is; what it raises ends the wait.

        Raises:
            OutageTooLong: if the leaser cannot be reached at all.
            SettingsError: if the leaser refuses this process.
        """
        async with self._leaser:
            await self._join(max_unreached_s, check)
            try:
                async with (
                    background(self._ask_on(), name="ask-for-slots"),
                    background(self._serve_ourselves(), name="slots-of-our-own"),
                ):
                    yield
            finally:
                self.slots.give_back()
                with suppress(LeaserLost, SettingsError, TimeoutError):
                    await self._ask(is_leaving=True)

    def refused(self, limit: Limit, version: int, pause_s: float) -> bool:
        """Report soon that the service refused a request; return whether this is new to us."""
        is_new = self.source.refused(limit, version, pause_s)
        if is_new:
            self._wanted.set()
        return is_new

    async def _join(self, max_unreached_s: float, check: Callable[[], object]) -> None:
        since = self.now()
        while True:
            try:
                await self._ask()
            except (LeaserLost, TimeoutError) as lost:
                if self.now() - since >= max_unreached_s:
                    raise OutageTooLong(
                        "the quota's leaser cannot be reached",
                        which=f"--quota {self._leaser.name}",
                        found=str(lost) or "no answer",
                        cure="start it (rerank quota serve), or leave --quota out if no other"
                        " process uses the account",
                    ) from lost
            else:
                return
            check()
            await asyncio.sleep(_JOIN_AGAIN_S)

    async def _ask_on(self) -> None:
        """Ask the leaser again and again until cancelled."""
        pause_s = self._leased.grant.again_s
        while True:
            await self._rest(pause_s)
            try:
                await self._ask()
                pause_s = self._leased.grant.again_s
            except (LeaserLost, SettingsError, TimeoutError) as lost:
                self._num_unmet = 1
                if self.now() - self._heard >= self._times.own_s and self._own is None:
                    self._go_alone(str(lost) or "no answer")
                pause_s = self._times.ahead_s if self._own is None else self._times.heartbeat_s

    async def _rest(self, pause_s: float) -> None:
        """Wait; a new request ends the wait if none waited before."""
        if self._own is not None or self._num_unmet:
            await asyncio.sleep(pause_s)
            return
        begun, least_s = self.now(), min(self._times.ahead_s / 3, pause_s)
        if not self._wants():
            self._wanted.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wanted.wait()
        if self.slots:
            await asyncio.sleep(max(begun + least_s - self.now(), 0.0))

    def _wants(self) -> list[float]:
        return list(self._demand())[len(self.slots) :]

    async def _ask(self, *, is_leaving: bool = False) -> None:
        """Ask the leaser once, and take what it gives."""
        if self._unacknowledged is None:
            self._unacknowledged = self._leased.report
            self._leased.report = Report(self._unacknowledged.number + 1)
        ask = Ask(
            self._name,
            *self._quota,
            wants=[] if is_leaving else self._wants(),
            report=self._unacknowledged,
            share=None if self._own is None else self._leased.grant.share,
            is_leaving=is_leaving,
            epoch=self._leased.grant.epoch,
        )
        sent = self.now()
        async with asyncio.timeout(self._times.call_s):
            grant = await self._leaser.ask(ask)
        self._unacknowledged, self._heard = None, sent
        self._num_unmet = max(len(ask.wants) - len(grant.slots), 0)
        if grant.epoch != self._leased.grant.epoch:
            self._offset = ClockOffset()
            if self._own is None:
                self.slots.clear()
        self._offset.add(sent, self.now(), grant.now)
        if grant.stay:
            return
        if self._own is not None:
            self._return_to_leaser()
        self._leased.grant = grant
        ours, source = self._offset.ours, self._leased
        self.slots.add([HeldSlot(ours(slot.at), slot, source) for slot in grant.slots])

    def _go_alone(self, why: str) -> None:
        self.slots.give_back()
        leased = self._leased.grant
        own = self._own = OwnLedger(self._num_sources, leased)
        self._num_sources += 1
        log_event(
            _log,
            logging.WARNING,
            "quota.leaser_lost",
            leaser=self._leaser.name,
            error=why,
            takers=leased.takers,
            share=round(leased.share, 3),
            requests_per_s=own.requests_per_s and round(own.requests_per_s, 2),
            tokens_per_s=own.tokens_per_s and round(own.tokens_per_s, 1),
        )
        self._alone.set()

    def _return_to_leaser(self) -> None:
        self._own = None
        self._alone.clear()
        self.slots.clear()
        self._leased.number, self._num_sources = self._num_sources, self._num_sources + 1
        log_event(_log, logging.WARNING, "quota.leaser_back", leaser=self._leaser.name)

    async def _serve_ourselves(self) -> None:
        """Make slots by the own ledger while the leaser is lost; runs until cancelled."""
        while True:
            await self._alone.wait()
            if self._own is not None:
                self.slots.add(self._own.ask(self.now(), self._wants()))
            await asyncio.sleep(self._times.ahead_s / 3)
