"""Many groups at once: a bound on how many, and on the bytes that they hold.

The reader takes room for a group before it starts it, and gives it back when the group is done; so
reading waits for the service, and memory does not grow with the dataset.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

Item = TypeVar("Item")


class Room:
    """Space for groups in work: at most `max_groups`, and about `max_bytes` between them.

    A group larger than `max_bytes` goes alone. One task takes; any task gives back. Who waits for
    room is woken when an eighth is free, since to be woken for every group is dear.
    """

    def __init__(self, *, max_groups: int, max_bytes: int) -> None:
        self.max_groups = max_groups
        self.max_bytes = max_bytes
        self.groups = 0
        self.bytes = 0
        self._few_groups = max_groups - max(1, max_groups // 8)
        self._few_bytes = max_bytes - max_bytes // 8
        self._freed = asyncio.Event()

    async def take(self, size_bytes: int) -> None:
        """Wait until a group of this size has room, and take it."""
        while not self.take_at_once(size_bytes):
            self._freed.clear()
            await self._freed.wait()

    def take_at_once(self, size_bytes: int) -> bool:
        """Take room for a group of this size, if there is some."""
        if self.groups and (
            self.groups >= self.max_groups or self.bytes + size_bytes > self.max_bytes
        ):
            return False
        self.groups += 1
        self.bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Free the room of a group of this size."""
        self.groups -= 1
        self.bytes -= size_bytes
        if self.groups <= self._few_groups and self.bytes <= self._few_bytes:
            self._freed.set()


async def read_ahead(read: Callable[[], Item | None]) -> AsyncGenerator[Item]:
    """Yield what `read` returns until it returns None; it runs in a thread, one call ahead.

    While the consumer works on one item, the next is being read; never more than that.
    """
    loop = asyncio.get_running_loop()
    upcoming = loop.run_in_executor(None, read)
    try:
        # Shielded, since to cancel the future would not stop the thread, only hide it.
        while (item := await asyncio.shield(upcoming)) is not None:
            upcoming = loop.run_in_executor(None, read)
            yield item
    finally:
        # Do not leave the thread reading behind our back. What went wrong with an item that
        # nobody wants any more is of no interest.
        await asyncio.wait([upcoming])
        upcoming.exception()
