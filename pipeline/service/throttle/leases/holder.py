"""A taker of a shared quota: asks for slots while there are requests, and has them ready.

Without the leaser it goes on at the share that it was promised, by a ledger of its own, and
returns to the leaser as soon as that answers. The leaser keeps the share of a silent taker free,
so all takers together stay within the quota; see `LeaseTimes` for how the times fit together.
"""

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cached_property

from msgspec import Struct

from pipeline.core.background import background
from pipeline.core.errors import OutageTooLong, SettingsError
from pipeline.core.events import log_event
from pipeline.service.throttle.leases.clock_offset import ClockOffset
from pipeline.service.throttle.leases.leaser import Leaser, LeaserLost
from pipeline.service.throttle.leases.ledger import Ledger
from pipeline.service.throttle.leases.messages import (
    Ask,
    Grant,
    LeaseTimes,
    Limit,
    Refused,
    Report,
    Served,
    Slot,
)

_log = logging.getLogger(__name__)

MAX_UNREACHED_S = 30.0
"""How long the leaser may be out of reach when a run begins."""
_JOIN_AGAIN_S = 1.0
_OF_SHARE = 0.95
"""Without the leaser nobody keeps the takers' moments apart."""
_OVER_IN_A_SECOND = 1.05


class Source(Struct, eq=False):
    """Where slots come from for a time: the leaser, or a ledger of our own.

    Attributes:
        number: Of the source; the versions of its rates are no other's.
        grant: Its last answer.
        report: What the next request tells it.
    """

    number: int
    grant: Grant
    report: Report


class HeldSlot(Struct, frozen=True, eq=False):
    """A slot in hand, with its moment by our clock."""

    due: float
    slot: Slot
    source: Source

    def correct(self, difference: float) -> None:
        """Report so many tokens more than it was given for."""
        if difference:
            self.source.report.corrections.append((self.slot.at, difference))


class LeaseHolder:
    """Holds the slots of one process; for one event loop.

    Args:
        leaser: Gives them.
        requests_per_s: The quota by this process's settings; None if none is known.
        tokens_per_s: The same for tokens.
        times: When what happens; the same for all takers and the leaser.

    Attributes:
        taken: The slot that was taken last.
    """

    def __init__(
        self,
        leaser: Leaser,
        requests_per_s: float | None,
        tokens_per_s: float | None,
        *,
        times: LeaseTimes | None = None,
    ) -> None:
        self.taken: HeldSlot | None = None
        self._leaser = leaser
        self._quota = (requests_per_s, tokens_per_s)
        self._times = times or LeaseTimes()
        self._name = uuid.uuid4().hex
        self._offset = ClockOffset()
        self._demand: Callable[[], Sequence[float]] = list
        self._leased = Source(0, Grant(0.0), Report(1))
        self._own: Source | None = None
        self._num_sources = 1
        self._ledger = Ledger()
        self._hand: deque[HeldSlot] = deque()
        self._unacknowledged: Report | None = None
        self._heard = 0.0
        self._num_unmet = 0
        self._wanted, self._new_slots, self._alone = (
            asyncio.Event(),
            asyncio.Event(),
            asyncio.Event(),
        )

    def __repr__(self) -> str:
        where = "own" if self._own else self._leaser.name
        return f"<LeaseHolder slots={len(self._hand)} from={where}>"

    @cached_property
    def now(self) -> Callable[[], float]:
        """The clock of the event loop."""
        return asyncio.get_running_loop().time

    @property
    def _source(self) -> Source:
        return self._own or self._leased

    @property
    def grant(self) -> Grant:
        """The last answer of the current source of slots."""
        return self._source.grant

    @property
    def share(self) -> float:
        """This process's fair share of the quota."""
        return 1.0 / self._leased.grant.takers

    def version(self, limit: Limit) -> int:
        """Return the version of a rate; no two sources have the same one."""
        grant = self.grant
        number = grant.tokens_version if limit == "tokens" else grant.requests_version
        return (self._source.number << 32) + number

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
                self._give_back_all()
                with suppress(LeaserLost, SettingsError, TimeoutError):
                    await self._ask(is_leaving=True)

    def take(self) -> HeldSlot | None:
        """Return a slot whose moment has come, if there is one."""
        now, hand = self.now(), self._hand
        while hand and hand[0].due < now - self._times.late_s:
            self._give_back(hand.popleft())
        if hand and hand[0].due <= now:
            self.taken = hand.popleft()
            return self.taken
        if not hand:
            self._wanted.set()
        return None

    async def next(self) -> HeldSlot:
        """Wait for a slot, and for its moment."""
        while True:
            held = self.take()
            if held is not None:
                return held
            self._new_slots.clear()
            wait_s = self._hand[0].due - self.now() if self._hand else None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._new_slots.wait()

    def put_back(self) -> None:
        """Take back the slot that was taken last: it was not used."""
        if self.taken is not None:
            self._hand.appendleft(self.taken)
            self.taken = None
            self._new_slots.set()

    def served(self, limit: Limit, amount: float, version: int) -> None:
        """Report that the service served a request that was admitted under a version."""
        source = self._source
        if version >> 32 != source.number:
            return
        version &= 0xFFFF_FFFF
        for one in source.report.served:
            if one.limit == limit and one.version == version:
                one.amount += amount
                return
        source.report.served.append(Served(limit, version, amount))

    def refused(self, limit: Limit, version: int, pause_s: float) -> bool:
        """Report that the service refused a request; return whether that is news to us."""
        source = self._source
        if version != self.version(limit):
            return False
        known = [(one.limit, one.version) for one in source.report.refused]
        version &= 0xFFFF_FFFF
        if (limit, version) in known:
            return False
        source.report.refused.append(Refused(limit, version, pause_s))
        self._wanted.set()
        return True

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
        """Ask the leaser again and again, for ever."""
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
        """Wait; a new request cuts it short if none waited before."""
        if self._own is not None or self._num_unmet:
            await asyncio.sleep(pause_s)
            return
        begun, least_s = self.now(), min(self._times.ahead_s / 3, pause_s)
        if not self._wants():
            self._wanted.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wanted.wait()
        if self._hand:
            await asyncio.sleep(max(begun + least_s - self.now(), 0.0))

    def _wants(self) -> list[float]:
        return list(self._demand())[len(self._hand) :]

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
                self._hand.clear()
        self._offset.add(sent, self.now(), grant.now)
        if grant.stay:
            return
        if self._own is not None:
            self._return_to_leaser()
        self._leased.grant = grant
        self._receive(self._leased, grant, self._offset.ours)

    def _receive(self, source: Source, grant: Grant, ours: Callable[[float], float]) -> None:
        self._hand.extend(HeldSlot(ours(slot.at), slot, source) for slot in grant.slots)
        if grant.slots:
            self._new_slots.set()

    def _go_alone(self, why: str) -> None:
        self._give_back_all()
        leased = self._leased.grant
        requests, tokens = self._safe_rates(leased)
        self._own = Source(self._num_sources, Grant(0.0), Report(1))
        self._num_sources += 1
        self._ledger = Ledger(requests, tokens, times=LeaseTimes(gather_s=0.0))
        log_event(
            _log,
            logging.WARNING,
            "quota.leaser_lost",
            leaser=self._leaser.name,
            error=why,
            takers=leased.takers,
            share=round(leased.share, 3),
            requests_per_s=requests and round(requests, 2),
            tokens_per_s=tokens and round(tokens, 1),
        )
        self._alone.set()

    def _return_to_leaser(self) -> None:
        self._own = None
        self._alone.clear()
        self._hand.clear()
        self._leased.number, self._num_sources = self._num_sources, self._num_sources + 1
        log_event(_log, logging.WARNING, "quota.leaser_back", leaser=self._leaser.name)

    def _safe_rates(self, leased: Grant) -> tuple[float | None, float | None]:
        """Return the rates at which the takers, each by itself, stay within the quota.

        Each may begin a second with a request: so one request a second and taker is left out.
        """
        share, requests, tokens = leased.share, leased.requests_per_s, leased.tokens_per_s
        if requests is not None:
            most = min(_OF_SHARE * requests, _OVER_IN_A_SECOND * requests - leased.takers)
            requests = share * max(most, requests / 2)
        return requests, None if tokens is None else _OF_SHARE * share * tokens

    async def _serve_ourselves(self) -> None:
        """Give us slots of our own while the leaser is lost, for ever."""
        while True:
            await self._alone.wait()
            own = self._own
            if own is None:
                self._alone.clear()
                continue
            if self._leased.grant.share > 0:
                report, own.report = own.report, Report(own.report.number + 1)
                ask = Ask("own", None, None, self._wants(), report, epoch=own.grant.epoch)
                now = self.now()
                own.grant = self._ledger.ask(now, ask)
                self._receive(own, own.grant, (now - own.grant.now).__add__)
            await asyncio.sleep(self._times.ahead_s / 3)

    def _give_back(self, held: HeldSlot) -> None:
        held.source.report.unused.append(held.slot)

    def _give_back_all(self) -> None:
        while self._hand:
            self._give_back(self._hand.popleft())
