"""Decide who gets which slots: one schedule for all takers of one quota.

Every slot is a moment of its own in an even pace (`SlotSchedule`), so the takers together keep the
pace, however many they are. Slots are given to the taker that was served least ("start-time fair
queueing", Goyal, Vin and Cheng, SIGCOMM 1996), at most a quarter of a second ahead, so a new taker
has its share at once and none starves. The caller passes the time; nothing here waits. `ledger.lua`
does the same in Redis.
"""

import random

from msgspec import Struct, field

from pipeline.service.throttle.leases.learned_rate import LearnedRate
from pipeline.service.throttle.leases.messages import Ask, Grant, LeaseTimes, Report, Slot
from pipeline.service.throttle.leases.schedule import SlotSchedule

_LEAST_FREE = 1e-6


class Taker(Struct):
    """A process that sends, as the ledger knows it.

    Attributes:
        heard: When it asked last.
        served: Seconds of the schedule that it was given, on a scale on which new takers begin
            late.
        share: The share that it was promised for use without the leaser, or that it now uses so.
        wants: Expected tokens of its waiting requests.
        slots: Slots that it was given and has not fetched.
        report: The number of its last report.
        on_own: It sends on its own until it asks again.
        reserved_until: Until when it may send on its own.
    """

    heard: float
    served: float
    requests_per_s: float | None = None
    tokens_per_s: float | None = None
    share: float = 0.0
    wants: list[float] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    report: int = 0
    on_own: bool = False
    reserved_until: float = 0.0


class Ledger:
    """The takers of one quota, and the slots that each was given.

    Args:
        requests_per_s: The quota of requests; None for the lowest that a taker's settings say.
        tokens_per_s: The same for tokens.
        times: When what happens.
    """

    def __init__(
        self,
        requests_per_s: float | None = None,
        tokens_per_s: float | None = None,
        *,
        times: LeaseTimes | None = None,
    ) -> None:
        self._own = (requests_per_s, tokens_per_s)
        self._times = times or LeaseTimes()
        self._requests, self._tokens = LearnedRate(), LearnedRate()
        self._schedule = SlotSchedule(self._requests, self._tokens)
        self._takers: dict[str, Taker] = {}
        self._served = 0.0
        self._began: float | None = None
        self._epoch = random.random()
        self._asked = 0.0

    def __repr__(self) -> str:
        return (
            f"<Ledger takers={len(self._takers)} requests_per_s={self._requests.current}"
            f" tokens_per_s={self._tokens.current}>"
        )

    @property
    def num_takers(self) -> int:
        """How many takers are known."""
        return len(self._takers)

    def ask(self, now: float, ask: Ask) -> Grant:
        """Process a taker's message, and give it slots.

        Args:
            now: Seconds by one clock, never going back.
            ask: What the taker says.

        Returns:
            Its slots, by a clock that began with the first call.
        """
        if self._began is None:
            self._began = now
        now -= self._began  # as in Redis, where moments need few digits
        self._forget_the_dead(now)
        self._asked = now
        taker = self._takers.get(ask.taker)
        if taker is None:
            taker = self._takers[ask.taker] = Taker(now, self._served)
        taker.heard = now
        taker.requests_per_s, taker.tokens_per_s = ask.requests_per_s, ask.tokens_per_s
        self._configure()
        if ask.epoch == self._epoch:
            self._settle(now, taker, ask.report)
        if ask.is_leaving:
            self._remove(ask.taker)
            return Grant(now)
        if ask.share is not None:  # until this answer arrives
            taker.share = max(taker.share, ask.share)
            taker.reserved_until = now + self._times.call_s
        is_gathering = now < self._times.gather_s
        taker.on_own = is_gathering and ask.share is not None
        if not taker.wants:
            taker.served = max(taker.served, self._served)
        taker.wants = ask.wants[len(taker.slots) :]  # the taker does not know of these yet
        if not is_gathering:
            self._allocate(now)
        # A restarted leaser does not know what it promised before, and to whom.
        share = 0.0 if is_gathering else self._fair_share(taker)
        # A taker on its own keeps the share that it reported, at least until this answer arrives.
        taker.share = share if ask.share is None else max(share, ask.share)
        return Grant(
            now,
            self._epoch,
            slots=self._fetch(now, taker),
            again_s=self._again_s(now, taker, share),
            share=share,
            takers=len(self._takers),
            stay=taker.on_own,
            requests_per_s=self._requests.current,
            tokens_per_s=self._tokens.current,
            requests_version=self._requests.version,
            tokens_version=self._tokens.version,
            pause_s=max(self._schedule.pause_until - now, 0.0),
        )

    def _fetch(self, now: float, taker: Taker) -> list[Slot]:
        """Return a taker's slots, without those that are too late."""
        slots, taker.slots = taker.slots, []
        for slot in slots:
            if slot.at <= now - self._times.late_s:
                self._schedule.lapse(slot)
        return [slot for slot in slots if slot.at > now - self._times.late_s]

    def _forget_the_dead(self, now: float) -> None:
        """Remove takers that are silent for too long, not counting time in which nobody asked.

        If all are silent, the leaser itself was probably stopped or out of reach.
        """
        times = self._times
        silence_s = now - self._asked
        if silence_s > times.silent_s:
            for taker in self._takers.values():
                taker.heard += silence_s - times.silent_s
        for name, taker in list(self._takers.items()):
            if now - taker.heard > times.dead_s:
                self._remove(name)

    def _remove(self, name: str) -> None:
        self._schedule.give_back(self._takers.pop(name).slots)

    def _configure(self) -> None:
        """Use the leaser's own quota, else the lowest that a taker states."""
        for rate, own, known in (
            (self._requests, self._own[0], [one.requests_per_s for one in self._takers.values()]),
            (self._tokens, self._own[1], [one.tokens_per_s for one in self._takers.values()]),
        ):
            stated = [per_s for per_s in known if per_s is not None]
            rate.configure(own if own is not None else min(stated, default=None))

    def _settle(self, now: float, taker: Taker, report: Report) -> None:
        """Take in a taker's report on its slots; the same report counts once."""
        if report.number <= taker.report:
            return
        taker.report = report.number
        schedule = self._schedule
        schedule.give_back(report.unused)
        for at, difference in report.corrections:
            schedule.correct(at, difference)
        for served in report.served:
            self._rate(served.limit).succeed(now, served.amount, served.version)
        for refused in report.refused:
            if self._rate(refused.limit).refuse(now, refused.version, refused.pause_s):
                schedule.pause_until = max(schedule.pause_until, now + refused.pause_s)

    def _rate(self, limit: str) -> LearnedRate:
        return self._tokens if limit == "tokens" else self._requests

    def _allocate(self, now: float) -> None:
        """Give slots to all takers that want some, as far ahead as allowed."""
        free = 1.0 - sum(
            taker.share
            for taker in self._takers.values()
            if taker.on_own
            or now < taker.reserved_until
            or now - taker.heard >= self._times.silent_s
        )
        if free <= _LEAST_FREE:
            return
        schedule, until = self._schedule, now + self._times.ahead_s
        schedule.drop_passed(now)
        waiting = [
            taker
            for _, taker in sorted(self._takers.items())
            if taker.wants and now - taker.heard <= self._times.wants_s
        ]
        while waiting:
            taker = min(waiting, key=lambda one: round(one.served, 6))
            slot = schedule.book(now, until, taker.wants[0], free)
            if slot is None:
                return
            self._served = taker.served
            taker.served += max(schedule.cost_s(slot.tokens, free))
            taker.wants = taker.wants[1:]
            taker.slots.append(slot)
            if not taker.wants:
                waiting.remove(taker)

    def _fair_share(self, taker: Taker) -> float:
        """Return the share that a taker may use without the leaser; all together fit the quota."""
        promised = sum(one.share for one in self._takers.values() if one is not taker)
        return max(min(1.0 / len(self._takers), 1.0 - promised), 0.0)

    def _again_s(self, now: float, taker: Taker, share: float) -> float:
        """Return when a taker should ask again: in time for its slots, or for its promise."""
        times = self._times
        if now < times.gather_s or share * len(self._takers) < 0.99:
            return times.ahead_s
        if not taker.wants:
            return times.heartbeat_s
        next_s = self._schedule.next_at - now
        return min(max(times.ahead_s / 3, next_s - times.ahead_s), times.wants_s / 2)
