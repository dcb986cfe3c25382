"""The slots that a taker has in hand, taken in order, each at its moment."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property

from msgspec import Struct

from pipeline.service.throttle.leases.messages import Slot
from pipeline.service.throttle.leases.slot_source import SlotSource


class HeldSlot(Struct, frozen=True, eq=False):
    """A slot in hand, with its moment by our clock."""

    due: float
    slot: Slot
    source: SlotSource

    def correct(self, difference: float) -> None:
        """Report that the request took so many tokens more than the slot was given for."""
        self.source.correct(self.slot, difference)


class SlotQueue:
    """Slots in hand; for one event loop, and one waiter at a time.

    Args:
        late_s: A slot may be used so long after its moment; then it is reported as unused.
        on_empty: Called when a slot is asked for and none is in hand.

    Attributes:
        taken: The slot that was taken last.
    """

    def __init__(self, late_s: float, on_empty: Callable[[], None]) -> None:
        self.taken: HeldSlot | None = None
        self._late_s = late_s
        self._on_empty = on_empty
        self._slots: deque[HeldSlot] = deque()
        self._has_new = asyncio.Event()

    def __len__(self) -> int:
        return len(self._slots)

    @cached_property
    def now(self) -> Callable[[], float]:
        """The clock of the event loop."""
        return asyncio.get_running_loop().time

    def add(self, slots: Sequence[HeldSlot]) -> None:
        """Append new slots, and wake the waiter."""
        self._slots.extend(slots)
        if slots:
            self._has_new.set()

    def take(self) -> HeldSlot | None:
        """Return a slot whose moment has come, if there is one."""
        now, slots = self.now(), self._slots
        while slots and slots[0].due < now - self._late_s:
            late = slots.popleft()
            late.source.unused(late.slot)
        if slots and slots[0].due <= now:
            self.taken = slots.popleft()
            return self.taken
        if not slots:
            self._on_empty()
        return None

    async def next(self) -> HeldSlot:
        """Wait for a slot, and for its moment."""
        while True:
            held = self.take()
            if held is not None:
                return held
            self._has_new.clear()
            wait_s = self._slots[0].due - self.now() if self._slots else None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._has_new.wait()

    def put_back(self) -> None:
        """Take back the slot that was taken last: it was not used."""
        if self.taken is not None:
            self._slots.appendleft(self.taken)
            self.taken = None
            self._has_new.set()

    def give_back(self) -> None:
        """Report all slots as unused, and forget them."""
        for held in self._slots:
            held.source.unused(held.slot)
        self.clear()

    def clear(self) -> None:
        """Forget all slots without a report: their source no longer knows them."""
        self._slots.clear()
