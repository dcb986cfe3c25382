"""Admission: requests go out one after the other, in the order they came, within every limit.

The first in line waits for a slot, then for the pace of requests, of tokens, and for the end of a
pause; the others wait for it. So nothing overtakes, nothing starves, and each second of waiting has
one cause. A lease holds the slot until the answer is there, and carries the versions of the limits
that it was admitted under, by which an answer tells whether it is news about the present ones.
"""

import asyncio
import logging
from types import TracebackType
from typing import Final

from pipeline.counters import Counters
from pipeline.errors import RerankError, Throttled
from pipeline.settings import Pace
from pipeline.throttle.quota import Quota
from pipeline.throttle.slots import Slots
from pipeline.throttle.window import Entry

log = logging.getLogger(__name__)

_WAITED_S: Final = 0.000_1
"""What takes longer was a wait, not a computation."""

_TOKEN_GRAIN_S: Final = 0.020
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 60.0
_LONGEST_RETRY_AFTER_S: Final = 600.0
_LEARNING: Final = 0.05
"""Weight of one answer in the ratio of counted to estimated tokens."""


class Lease:
    """The right to have one request in flight; a context manager that gives the slot back.

    Attributes:
        documents: Documents in the request.
        tokens: Upper bound of its tokens.
    """

    __slots__ = ("_entry", "_slots_version", "_throttle", "_versions", "documents", "tokens")

    def __init__(self, throttle: "Throttle", documents: int, tokens: int, entry: Entry) -> None:
        self.documents = documents
        self.tokens = tokens
        self._throttle = throttle
        self._entry = entry
        self._versions = (throttle._requests.learned.version, throttle._tokens.learned.version)
        self._slots_version = throttle._slots.version

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._throttle._release(self)

    def answered(self, total_tokens: int | None) -> None:
        """Tell that the service served the request, and what it counted."""
        self._throttle._answered(self, total_tokens)

    def throttled(self, error: Throttled) -> None:
        """Tell that the service asked for a slower pace."""
        self._throttle._throttled(self, error)


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
        self._turn = asyncio.Lock()
        self._patience: asyncio.Timeout | None = None
        self._stopped_by: RerankError | None = None
        self._idle: asyncio.Future[None] | None = None
        self._pause_until = 0.0
        self._pauses_in_a_row = 0
        self._tokens_ratio = 1.0
        self._last_admission: float | None = None

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer."""
        return self._slots.in_flight

    def set_pace(self, pace: Pace) -> None:
        """Change the limits from now on; the first in line finishes its wait under the old ones."""
        self._slots.set_limits(pace.max_in_flight, pace.max_documents_in_flight)
        self._requests.set(pace.requests_per_minute)
        self._tokens.set(pace.tokens_per_minute)

    def stop(self, error: RerankError) -> None:
        """Admit nothing any more: those who wait, and all who come, get `error`."""
        if self._stopped_by is None:
            self._stopped_by = error
            if self._patience is not None:
                self._patience.reschedule(asyncio.get_running_loop().time())

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        while self._slots.in_flight:
            self._idle = self._idle or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    async def admit(self, documents: int, tokens: int) -> Lease:
        """Wait for this request's turn and for room within every limit.

        Args:
            documents: Documents in the request.
            tokens: Upper bound of its tokens.

        Raises:
            RerankError: the one given to `stop`, once it was called.
        """
        async with self._turn:
            if self._stopped_by is not None:
                raise self._stopped_by.with_traceback(None)
            try:
                async with asyncio.timeout(None) as self._patience:
                    return await self._first_in_line(documents, tokens)
            except TimeoutError:
                assert self._stopped_by is not None, "nothing else ends the patience"
                raise self._stopped_by.with_traceback(None) from None
            finally:
                self._patience = None

    async def _first_in_line(self, documents: int, tokens: int) -> Lease:
        clock, waits = asyncio.get_running_loop().time, self.counters.waits
        now = clock()
        while not self._slots.has_room():
            await self._slots.wait_for_change()
        now, before = clock(), now
        waits.in_flight_s += now - before
        while not self._slots.has_room_for_documents(documents):
            await self._slots.wait_for_change()
        now, before = clock(), now
        waits.documents_in_flight_s += now - before

        await self._requests.take(1)
        now, before = clock(), now
        if now - before > _WAITED_S:
            waits.requests_s += now - before
            self._requests.bound(now)
        estimate = tokens * self._tokens_ratio
        await self._tokens.take(estimate)
        for window in self._tokens.windows:
            while (wait_s := window.wait_s(clock(), estimate)) > 0:  # noqa: ASYNC110  # no polling:
                await asyncio.sleep(wait_s)  # it sleeps to the known end, which answers may move
        now, before = clock(), now
        if now - before > _WAITED_S:
            waits.tokens_s += now - before
            self._tokens.bound(now)
        while (wait_s := self._pause_until - clock()) > 0:  # noqa: ASYNC110  # it may be prolonged
            await asyncio.sleep(wait_s)
        now, before = clock(), now
        waits.pause_s += now - before
        if self._stopped_by is not None:
            raise self._stopped_by.with_traceback(None)

        entry = Entry(now, estimate)
        for window in self._tokens.windows:
            window.add(entry)
        self._slots.take(documents)
        self._count_use(now)
        return Lease(self, documents, tokens, entry)

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

    def _answered(self, lease: Lease, total_tokens: int | None) -> None:
        now = asyncio.get_running_loop().time()
        self._pauses_in_a_row = 0
        self._slots.answered()
        if total_tokens is not None:
            if lease.tokens:
                ratio = total_tokens / lease.tokens
                self._tokens_ratio += _LEARNING * (ratio - self._tokens_ratio)
            self._tokens.correct(lease._entry, total_tokens)
        if self._tokens.told is not None:
            self.counters.tokens_used += lease._entry.amount
        requests_version, tokens_version = lease._versions
        self._requests.granted(now, 1, requests_version)
        self._tokens.granted(now, lease._entry.amount, tokens_version)

    def _throttled(self, lease: Lease, error: Throttled) -> None:
        now = asyncio.get_running_loop().time()
        estimate = lease._entry.amount
        self._tokens.correct(lease._entry, 0)
        self.counters.throttled += 1
        if self._requests.told is not None:
            self.counters.requests_used -= 1
        requests_version, tokens_version = lease._versions
        pause_s = error.retry_after_s
        if pause_s is None:
            pause_s = min(_FIRST_PAUSE_S * 2**self._pauses_in_a_row, _LONGEST_PAUSE_S)
        pause_s = min(pause_s, _LONGEST_RETRY_AFTER_S)
        match error.limit:
            case "capacity":
                news = self._slots.overloaded(lease._slots_version)
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

    def _release(self, lease: Lease) -> None:
        self._slots.release(lease.documents)
        if not self._slots.in_flight and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None


def _shown(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"
