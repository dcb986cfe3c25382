"""Many groups at once: a bound on how many, and on the bytes that they hold.

The reader takes room for a group before it starts it, and gives it back when the group is done; so
reading waits for the service, and memory does not grow with the dataset.
"""

import asyncio


class CapacityLimiter:
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

    async def acquire(self, size_bytes: int) -> None:
        """Wait until a group of this size has room, and take it."""
        while not self.try_acquire(size_bytes):
            self._freed.clear()
            await self._freed.wait()

    def try_acquire(self, size_bytes: int) -> bool:
        """Take room for a group of this size, if there is some."""
        if self.groups and (
            self.groups >= self.max_groups or self.bytes + size_bytes > self.max_bytes
        ):
            return False
        self.groups += 1
        self.bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """Free the room of a group of this size."""
        self.groups -= 1
        self.bytes -= size_bytes
        if self.groups <= self._few_groups and self.bytes <= self._few_bytes:
            self._freed.set()
