"""A bound on the groups in work and on the bytes that they hold.

A group acquires capacity before it is enqueued and releases it when it is ranked. So reading waits
for the service, and memory does not grow with the dataset.
"""

import asyncio


class CapacityLimiter:
    """Admits groups: at most `max_groups`, with at most `max_bytes` between them.

    A group larger than `max_bytes` is admitted alone. One task acquires; any task releases. The
    waiter is woken once an eighth is free: waking it per group costs CPU.

    Attributes:
        groups: Groups in work.
        bytes: Bytes that they hold.
    """

    def __init__(self, *, max_groups: int, max_bytes: int) -> None:
        self.max_groups = max_groups
        self.max_bytes = max_bytes
        self.groups = 0
        self.bytes = 0
        self._wake_at_groups = max_groups - max(1, max_groups // 8)
        self._wake_at_bytes = max_bytes - max_bytes // 8
        self._freed = asyncio.Event()

    async def acquire(self, size_bytes: int) -> None:
        """Wait until there is room for a group of this size, and take it."""
        while not self.try_acquire(size_bytes):
            self._freed.clear()
            await self._freed.wait()

    def try_acquire(self, size_bytes: int) -> bool:
        """Take room for a group of this size if there is any; return whether there was."""
        if self.groups and (
            self.groups >= self.max_groups or self.bytes + size_bytes > self.max_bytes
        ):
            return False
        self.groups += 1
        self.bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """Free the room that a group of this size took."""
        self.groups -= 1
        self.bytes -= size_bytes
        if self.groups <= self._wake_at_groups and self.bytes <= self._wake_at_bytes:
            self._freed.set()
