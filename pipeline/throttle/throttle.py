"""Admission: requests go out one after the other, in the order they came, within every limit.

The first in line waits for a slot, then for the pace of requests, of tokens, and for the end of a
pause; the others wait for it. So nothing overtakes, nothing starves, and each second of waiting has
one cause. Whoever gives a slot back hands it to the first in line at once. A lease holds the slot
until the answer is there, and carries the versions of the limits that it was admitted under, by
which an answer tells whether it is news about the present ones.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import cached_property
from typing import Final

from pipeline.counters import Counters
from pipeline.errors import RerankError, Throttled
from pipeline.settings import Pace
from pipeline.throttle.lease import Lease
from pipeline.throttle.quota import Quota
from pipeline.throttle.slots import Slots

log = logging.getLogger(__name__)

_WAITED_S: Final = 0.000_1
"""What takes longer was a wait, not a computation."""

_TOKEN_GRAIN_S: Final = 0.020
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 60.0
_MOST_DOUBLINGS: Final = 10
_LONGEST_RETRY_AFTER_S: Final = 600.0
_LEARNING: Final = 0.05
"""Weight of one answer in the ratio of counted to estimated tokens."""


class Throttle:
    """Admits requests within a pace; one per service and account, used on one event loop.

    Args:
        pace: The limits; `set_pace` changes them while running.
        counters: Where waits and the use of the quota are counted.
    """

    def __init__(self, pace: Pace, counters: Counters | None = None) -> None:
        self.counters = counters or Counters()
        self._slots = Slots(pace.max_in_flight, pace.max_documents_in_flight)
        self._requests = Quota(pace.requests_per_minute)
        self._tokens = Quota(pace.tokens_per_minute, grain_s=_TOKEN_GRAIN_S)
        self._line: deque[_Waiter] = deque()
        self._full_since: float | None = None
        self._no_room_since: float | None = None
        self._patience: asyncio.Timeout | None = None
        self._stopped_by: RerankError | None = None
        self._pause_until = 0.0
        self._pauses_in_a_row = 0
        self._tokens_ratio = 1.0
        self._last_admission: float | None = None

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer."""
        return self._slots.in_flight

    @property
    def max_in_flight(self) -> int:
        """How many may, at most."""
        return self._slots.max_in_flight

    def set_pace(self, pace: Pace) -> None:
        """Change the limits from now on; the first in line finishes its wait under the old ones."""
        self._slots.set_limits(pace.max_in_flight, pace.max_documents_in_flight)
        self._requests.set(pace.requests_per_minute)
        self._tokens.set(pace.tokens_per_minute)
        self._advance()

    def stop(self, error: RerankError) -> None:
        """Admit nothing any more: those who wait, and all who come, get `error`."""
        if self._stopped_by is not None:
            return
        self._stopped_by = error
        if self._patience is not None:
            self._patience.reschedule(self._now())
        for waiter in self._line:
            if not waiter.turn.done():
                waiter.turn.set_result(None)
        self._line.clear()

    async def admit(self, documents: int, tokens: int) -> Lease:
        """Wait for this request's turn and for room within every limit.

        Args:
            documents: Documents in the request.
            tokens: Upper bound of its tokens.

        Raises:
            RerankError: the one given to `stop`, once it was called.
        """
        self._refuse_if_stopped()
        if not self._line:
            lease = self._admit_at_once(self._now(), documents, tokens)
            if lease is not None:
                return lease
        waiter = _Waiter(documents, tokens)
        self._line.append(waiter)
        self._advance()
        try:
            lease = await waiter.turn
            self._refuse_if_stopped()
            return lease or await self._wait_for_pace(waiter)
        except BaseException:  # cancelled or stopped: undo, so that the next one may go
            self._leave(waiter)
            raise

    def _advance(self) -> None:
        """Let those in line go as long as there is room.

        To whom more than room is missing, that waits for the pace by itself, and stays the first.
        """
        now = self._now()
        while self._line and not (first := self._line[0]).turn.done():
            if not self._count_wait_for_room(now, first.documents):
                return
            lease = self._admit_at_once(now, first.documents, first.tokens)
            first.turn.set_result(lease)
            if lease is not None:
                self._line.popleft()
        self._no_room_since = None

    def _leave(self, waiter: "_Waiter") -> None:
        if waiter in self._line:
            self._line.remove(waiter)
        elif waiter.turn.done() and not waiter.turn.cancelled():
            lease = waiter.turn.result()
            if lease is not None:
                self._release(lease)
        self._advance()

    def _refuse_if_stopped(self) -> None:
        if self._stopped_by is not None:
            raise self._stopped_by.with_traceback(None)

    def _count_wait_for_room(self, now: float, documents: int) -> bool:
        """Whether there is room for the first in line; counts how long its documents had none."""
        if self._no_room_since is not None:
            self.counters.waits.documents_in_flight_s += now - self._no_room_since
        has_slot = self._slots.has_room()
        has_room = has_slot and self._slots.has_room_for_documents(documents)
        self._no_room_since = now if has_slot and not has_room else None
        return has_room

    def _admit_at_once(self, now: float, documents: int, tokens: int) -> Lease | None:
        """Admit a request that has not to wait for anything."""
        slots, estimate = self._slots, tokens * self._tokens_ratio
        if (
            now < self._pause_until
            or not (slots.has_room() and slots.has_room_for_documents(documents))
            or not self._tokens.has_room(now, estimate)
            or not self._requests.take_at_once(1)
        ):
            return None
        if not self._tokens.take_at_once(estimate):
            self._requests.give_back(1)
            return None
        return self._lease(now, documents, tokens, estimate)

    async def _wait_for_pace(self, first: "_Waiter") -> Lease:
        """Wait, as the first in line, for all but room, and hand over the turn."""
        clock, waits = self._now, self.counters.waits
        try:
            async with asyncio.timeout(None) as self._patience:
                now = clock()
                await self._requests.take(1)
                now, before = clock(), now
                if now - before > _WAITED_S:
                    waits.requests_s += now - before
                    self._requests.bound(now)
                estimate = first.tokens * self._tokens_ratio
                await self._tokens.take(estimate)
                for window in self._tokens.windows:
                    while (wait_s := window.wait_s(clock(), estimate)) > 0:  # noqa: ASYNC110
                        await asyncio.sleep(wait_s)  # to the known end, which answers may move
                now, before = clock(), now
                if now - before > _WAITED_S:
                    waits.tokens_s += now - before
                    self._tokens.bound(now)
                while (wait_s := self._pause_until - clock()) > 0:  # noqa: ASYNC110
                    await asyncio.sleep(wait_s)  # it may be prolonged
                now, before = clock(), now
                waits.pause_s += now - before
        except TimeoutError:
            assert self._stopped_by is not None, "nothing else ends the patience"
        finally:
            self._patience = None
        self._refuse_if_stopped()
        lease = self._lease(now, first.documents, first.tokens, estimate)
        self._line.popleft()
        self._advance()
        return lease

    def _lease(self, now: float, documents: int, tokens: int, estimate: float) -> Lease:
        slots, entries = self._slots, self._tokens.enter(now, estimate)
        slots.take(documents)
        if not slots.has_room():
            self._full_since = now
        self._count_use(now)
        versions = (self._requests.learned.version, self._tokens.learned.version, slots.version)
        return Lease(self, documents, tokens, estimate, entries, versions)

    def _count_use(self, now: float) -> None:
        """Hold the use of the quota against what it would have taken since the last admission."""
        counters, last = self.counters, self._last_admission
        self._last_admission = now
        if last is None:
            return
        counters.admitted_s += now - last
        if self._requests.told is not None:
            counters.requests_used += 1
            counters.requests_offered += (now - last) * self._requests.told
        if self._tokens.told is not None:
            counters.tokens_offered += (now - last) * self._tokens.told

    def answered(self, lease: Lease, total_tokens: int | None) -> None:
        """Learn that the service served a request, and what it counted."""
        now = self._now()
        self._pauses_in_a_row = 0
        self._slots.answered()
        if total_tokens is not None:
            if lease.tokens:
                ratio = total_tokens / lease.tokens
                self._tokens_ratio += _LEARNING * (ratio - self._tokens_ratio)
            self._tokens.correct(lease.entries, total_tokens - lease.estimate)
        amount = lease.estimate if total_tokens is None else float(total_tokens)
        if self._tokens.told is not None:
            self.counters.tokens_used += amount
        requests_version, tokens_version, _ = lease.versions
        self._requests.granted(now, 1, requests_version)
        self._tokens.granted(now, amount, tokens_version)

    def throttled(self, lease: Lease, error: Throttled) -> None:
        """Learn that the service asked for a slower pace."""
        now = self._now()
        estimate = lease.estimate
        self._tokens.correct(lease.entries, -estimate)
        self.counters.throttled += 1
        if self._requests.told is not None:
            self.counters.requests_used -= 1
        requests_version, tokens_version, slots_version = lease.versions
        pause_s = error.retry_after_s
        if pause_s is None:
            doublings = min(self._pauses_in_a_row, _MOST_DOUBLINGS)
            pause_s = min(_FIRST_PAUSE_S * 2**doublings, _LONGEST_PAUSE_S)
        pause_s = min(pause_s, _LONGEST_RETRY_AFTER_S)
        match error.limit:
            case "capacity":
                news = self._slots.overloaded(slots_version)
            case "tokens":
                news = self._tokens.learned.refused(now, estimate, tokens_version, pause_s=pause_s)
            case limit:
                news = self._requests.learned.refused(
                    now, 1, requests_version, pause_s=pause_s, for_growth=limit == "growth"
                )
        if news or error.retry_after_s is not None:
            self._pause_until = max(self._pause_until, now + pause_s)
        if news:
            self._pauses_in_a_row += 1
            log.warning(
                "pace.cut limit=%s code=%s requests_per_s=%s tokens_per_s=%s pause_s=%.2f",
                *(error.limit, error.code),
                *(_shown(quota.learned.rate) for quota in (self._requests, self._tokens)),
                pause_s,
            )

    def released(self, lease: Lease) -> None:
        """Take a slot back, and let the next one go."""
        self._release(lease)
        if self._line:
            self._advance()

    def _release(self, lease: Lease) -> None:
        self._slots.release(lease.documents)
        if self._full_since is not None:
            self.counters.waits.in_flight_s += self._now() - self._full_since
            self._full_since = None

    @cached_property
    def _now(self) -> Callable[[], float]:
        """The clock of the event loop that the throttle is used on."""
        return asyncio.get_running_loop().time


class _Waiter:
    """A request in line.

    Attributes:
        turn: Becomes its lease; None for the first in line who has room, but must wait for more.
    """

    __slots__ = ("documents", "tokens", "turn")

    def __init__(self, documents: int, tokens: int) -> None:
        self.documents = documents
        self.tokens = tokens
        self.turn: asyncio.Future[Lease | None] = asyncio.get_running_loop().create_future()


def _shown(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"
