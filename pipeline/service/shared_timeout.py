"""One time limit for many concurrent waits, with one timer between them.

All waits may take equally long, so the first to begin is the first to expire, and one timer for it
is enough. A timer for each wait, as `asyncio.timeout` and aiohttp set it, costs a twentieth of the
job's CPU.
"""

import asyncio
from types import TracebackType
from typing import Self


class SharedTimeout:
    """Raise TimeoutError in blocks that take longer than `limit_s` seconds; for one event loop.

    Use: `with shared_timeout.begin(): await something()`.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._running: dict[_Wait, None] = {}  # in order of their beginning
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> "_Wait":
        """Return a context manager for the running task, to be entered at once and only once."""
        return _Wait(self)

    def add(self, wait: "_Wait") -> float:
        """Start the time of a wait; return when it expires, by the event loop's clock."""
        loop = asyncio.get_running_loop()
        expires_at = loop.time() + self.limit_s
        self._running[wait] = None
        if self._timer is None:
            self._timer = loop.call_at(expires_at, self._expire_due)
        return expires_at

    def remove(self, wait: "_Wait") -> None:
        """Remove a wait that ended in time."""
        self._running.pop(wait, None)

    def _expire_due(self) -> None:
        """Expire the waits whose time is over, and set the timer for the next one."""
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._running:
            first = next(iter(self._running))
            if first.expires_at > loop.time():
                self._timer = loop.call_at(first.expires_at, self._expire_due)
                return
            del self._running[first]
            first.expire()


class _Wait:
    """The time that one task has.

    Attributes:
        expires_at: When it is over, by the event loop's clock.
    """

    __slots__ = ("_cancelled_before", "_expired", "_shared", "_task", "expires_at")

    def __init__(self, shared: SharedTimeout) -> None:
        self._shared = shared
        self._expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelled_before = task, task.cancelling()
        self.expires_at = self._shared.add(self)
        return self

    def expire(self) -> None:
        """Interrupt the task."""
        self._expired = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._expired:
            self._shared.remove(self)
        elif self._task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError:
            raise TimeoutError from error  # nobody else cancelled the task
