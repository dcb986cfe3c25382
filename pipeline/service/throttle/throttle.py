"""Admission: requests go out one after the other, in the order they came, within every limit.

The first in line waits for a slot, then for the pace of requests, of tokens, and for the end of a
pause; the others wait for it. So nothing overtakes, nothing starves, and each second of waiting has
one cause. Whoever gives a slot back hands it to the first in line at once.
"""

import asyncio
from collections import deque

from pipeline.core.errors import RerankError
from pipeline.core.settings import Pace
from pipeline.service.metrics import Metrics
from pipeline.service.throttle.admission import AdmissionControl
from pipeline.service.throttle.permit import Permit


class Throttle:
    """Admits requests within a pace; one per service and account, used on one event loop.

    Args:
        pace: The limits; `set_pace` changes them while running.
        metrics: Where waits and the use of the quota are counted.
    """

    def __init__(self, pace: Pace, metrics: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics()
        self._limits = AdmissionControl(pace, self.metrics, self._advance)
        self._line: deque[_Waiter] = deque()
        self._no_room_since: float | None = None
        self._patience: asyncio.Timeout | None = None
        self._stopped_by: RerankError | None = None

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer."""
        return self._limits.slots.in_flight

    @property
    def max_in_flight(self) -> int:
        """How many may, at most."""
        return self._limits.slots.max_in_flight

    def set_pace(self, pace: Pace) -> None:
        """Change the limits from now on; the first in line finishes its wait under the old ones."""
        self._limits.set(pace)
        self._advance()

    def stop(self, error: RerankError) -> None:
        """Admit nothing any more: those who wait, and all who come, get `error`."""
        if self._stopped_by is not None:
            return
        self._stopped_by = error
        if self._patience is not None:
            self._patience.reschedule(self._limits.now())
        for waiter in self._line:
            if not waiter.turn.done():
                waiter.turn.set_result(None)
        self._line.clear()

    async def admit(self, documents: int, tokens: int) -> Permit:
        """Wait for this request's turn and for room within every limit.

        Args:
            documents: Documents in the request.
            tokens: Upper bound of its tokens.

        Raises:
            RerankError: the one given to `stop`, once it was called.
        """
        self._refuse_if_stopped()
        if not self._line:
            permit = self._limits.grant_at_once(documents, tokens)
            if permit is not None:
                return permit
        waiter = _Waiter(documents, tokens)
        self._line.append(waiter)
        self._advance()
        try:
            permit = await waiter.turn
            self._refuse_if_stopped()
            return permit or await self._wait_for_pace(waiter)
        except BaseException:  # cancelled or stopped: undo, so that the next one may go
            self._leave(waiter)
            raise

    def _advance(self) -> None:
        """Let those in line go as long as there is room.

        To whom more than room is missing, that waits for the pace by itself, and stays the first.
        """
        while self._line and not (first := self._line[0]).turn.done():
            if not self._count_wait_for_room(first.documents):
                return
            permit = self._limits.grant_at_once(first.documents, first.tokens)
            first.turn.set_result(permit)
            if permit is not None:
                self._line.popleft()
        self._no_room_since = None

    def _leave(self, waiter: "_Waiter") -> None:
        if waiter in self._line:
            self._line.remove(waiter)
        elif waiter.turn.done() and not waiter.turn.cancelled():
            permit = waiter.turn.result()
            if permit is not None:
                self._limits.take_back(permit)
        self._advance()

    def _refuse_if_stopped(self) -> None:
        if self._stopped_by is not None:
            raise self._stopped_by.with_traceback(None)

    def _count_wait_for_room(self, documents: int) -> bool:
        """Whether there is room for the first in line; counts how long its documents had none."""
        now, slots = self._limits.now(), self._limits.slots
        if self._no_room_since is not None:
            self.metrics.waits.documents_in_flight_s += now - self._no_room_since
        has_slot = slots.has_room()
        has_room = has_slot and slots.has_room_for_documents(documents)
        self._no_room_since = now if has_slot and not has_room else None
        return has_room

    async def _wait_for_pace(self, first: "_Waiter") -> Permit:
        """Wait, as the first in line, for all but room, and hand over the turn."""
        permit = None
        try:
            async with asyncio.timeout(None) as self._patience:
                permit = await self._limits.grant(first.documents, first.tokens)
        except TimeoutError:
            assert self._stopped_by is not None, "nothing else ends the patience"
        finally:
            self._patience = None
        if self._stopped_by is not None and permit is not None:
            self._limits.take_back(permit)
        self._refuse_if_stopped()
        assert permit is not None
        self._line.popleft()
        self._advance()
        return permit


class _Waiter:
    """A request in line.

    Attributes:
        turn: Becomes its permit; None for the first in line who has room, but must wait for more.
    """

    __slots__ = ("documents", "tokens", "turn")

    def __init__(self, documents: int, tokens: int) -> None:
        self.documents = documents
        self.tokens = tokens
        self.turn: asyncio.Future[Permit | None] = asyncio.get_running_loop().create_future()
