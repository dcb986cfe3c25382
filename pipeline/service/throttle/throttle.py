"""Admission in order of arrival, within every limit.

The first request in line waits for room in flight, then for the pace of requests, of tokens, and
for the end of a pause; the others wait behind it. So nothing overtakes, nothing starves, and each
second of waiting has one cause. A place in flight that becomes free goes to the first in line at
once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import islice

from pipeline.core.content import Content
from pipeline.core.settings import Pace
from pipeline.service.metrics import QuotaUse
from pipeline.service.throttle.admission import AdmissionControl
from pipeline.service.throttle.leases.holder import LeaseHolder
from pipeline.service.throttle.leases.leased_quota import leased_quota
from pipeline.service.throttle.permit import ThrottlePermit
from pipeline.service.throttle.text_kind import TextKind


class Throttle:
    """Admit requests within a pace; one per service and account, used on one event loop.

    Args:
        pace: The limits; `set_pace` changes them during the run.
        quota_use: Where waits and the use of the quota are counted.
        leases: Has slots of a quota that several processes share; None if there is none.
    """

    def __init__(
        self,
        pace: Pace,
        quota_use: QuotaUse | None = None,
        leases: LeaseHolder | None = None,
    ) -> None:
        self._quota_use = quota_use or QuotaUse()
        self._leases = leases
        quota = None if leases is None else leased_quota(leases, pace)
        self._control = AdmissionControl(pace, self._quota_use, self._advance, quota)
        if leases is not None:
            leases.follow(self._expected_tokens)
        self._line: deque[_Waiter] = deque()
        self._no_room_since: float | None = None

    def __repr__(self) -> str:
        control, concurrency = self._control, self._control.concurrency
        return (
            f"<Throttle in_flight={concurrency.in_flight}/{concurrency.max_in_flight}"
            f" documents={concurrency.documents} waiting={len(self._line)}"
            f" requests={control.requests!r} tokens={control.tokens!r}>"
        )

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer."""
        return self._control.concurrency.in_flight

    @property
    def documents_in_flight(self) -> int:
        """Documents in those requests."""
        return self._control.concurrency.documents

    @property
    def target_concurrency(self) -> int:
        """How many requests may be in flight at most."""
        return self._control.concurrency.max_in_flight

    def set_pace(self, pace: Pace) -> None:
        """Change the limits from now on; requests that wait for an old one wait anew."""
        self._control.set(pace)
        self._advance()

    def quota_use_now(self) -> QuotaUse:
        """Return the use of the quota, with present waits counted up to now."""
        self._control.book_waits()
        if self._line and self._no_room_since is not None:
            self._has_room(self._line[0].documents)
        return self._quota_use

    @property
    def paused_s(self) -> float:
        """For how many seconds the operator's pauses lasted so far."""
        return self._control.paused_s

    async def admit(
        self, documents: int, tokens: int, texts: Sequence[Content] = ()
    ) -> ThrottlePermit:
        """Wait for this request's turn and for room within every limit.

        Args:
            documents: Documents in the request.
            tokens: Upper bound of its tokens.
            texts: The documents, from which to estimate how much of the bound the service will
                count.
        """
        control, permit = self._control, None
        if not self._line:
            permit = control.try_grant_of_any_kind(documents, tokens)
        if permit is not None:
            return permit
        waiter = _Waiter(documents, tokens, partial(control.kind, texts, tokens))
        self._line.append(waiter)
        if self._leases is not None:
            self._leases.wake()
        self._advance()
        try:
            permit = await waiter.turn
            return permit or await self._wait_for_pace(waiter)
        except BaseException:  # cancelled: undo, so that the next one may go
            self._leave(waiter)
            raise

    def _expected_tokens(self) -> list[float]:
        """Return the expected tokens of each request in line for which there is room in flight."""
        first = islice(self._line, self._control.concurrency.room)
        return [self._control.estimate(one.kind, one.tokens) for one in first]

    def _advance(self) -> None:
        """Admit those in line as long as there is room.

        A waiter that has room but must wait for the pace does so itself, at the head of the queue.
        """
        while self._line and not (first := self._line[0]).turn.done():
            if not self._has_room(first.documents):
                return
            permit = self._control.try_grant_of_any_kind(first.documents, first.tokens)
            if permit is None:
                permit = self._control.try_grant(first.documents, first.tokens, first.kind)
            first.turn.set_result(permit)
            if permit is not None:
                self._line.popleft()
        self._no_room_since = None

    def _has_room(self, documents: int) -> bool:
        """Return whether the first in line has room; count how long its documents had none."""
        now, concurrency = self._control.now(), self._control.concurrency
        if self._no_room_since is not None:
            self._quota_use.waits.documents_in_flight_s += now - self._no_room_since
        has_place = concurrency.has_room()
        has_room = has_place and concurrency.has_room_for_documents(documents)
        self._no_room_since = now if has_place and not has_room else None
        return has_room

    def _leave(self, waiter: "_Waiter") -> None:
        if waiter in self._line:
            self._line.remove(waiter)
        elif waiter.turn.done() and not waiter.turn.cancelled():
            permit = waiter.turn.result()
            if permit is not None:
                self._control.take_back(permit)
        self._advance()

    async def _wait_for_pace(self, first: "_Waiter") -> ThrottlePermit:
        """Wait, as the first in line, for everything except room; then leave the line."""
        permit = await self._control.grant(first.documents, first.tokens, first.kind)
        self._line.popleft()
        self._advance()
        return permit


class _Waiter:
    """A request in line.

    Attributes:
        turn: Becomes its permit; None for the first in line that has room, but must wait for more.
    """

    def __init__(self, documents: int, tokens: int, find_kind: Callable[[], TextKind]) -> None:
        self.documents = documents
        self.tokens = tokens
        self._find_kind = find_kind
        self.turn: asyncio.Future[ThrottlePermit | None] = (
            asyncio.get_running_loop().create_future()
        )

    @cached_property
    def kind(self) -> TextKind:
        """The kind of its texts, computed when it is first needed."""
        return self._find_kind()
