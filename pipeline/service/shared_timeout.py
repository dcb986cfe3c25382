"""One time limit for many waits at once, with one timer between them.

All may take equally long, so whoever began first runs out first, and one timer for that one will
do. A timer for each wait, as `asyncio.timeout` and aiohttp set it, is a twentieth of the job's CPU.
"""

import asyncio
from types import TracebackType
from typing import Self


class SharedTimeout:
    """Ends with a TimeoutError what takes longer than `limit_s` seconds; for one event loop.

    Use: `with time_limit.begin(): await something()`.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._running: dict[_Wait, None] = {}  # in order of their beginning
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> "_Wait":
        """A context manager for the running task, to be entered at once and only once."""
        return _Wait(self)

    def add(self, wait: "_Wait") -> float:
        """Let the time of a wait begin; returns its end by the loop's clock."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self.limit_s
        self._running[wait] = None
        if self._timer is None:
            self._timer = loop.call_at(ends_at, self._look)
        return ends_at

    def remove(self, wait: "_Wait") -> None:
        """Take out a wait that is over."""
        self._running.pop(wait, None)

    def _look(self) -> None:
        """End those whose time is over, and wait for the next one."""
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._running:
            first = next(iter(self._running))
            if first.ends_at > loop.time():
                self._timer = loop.call_at(first.ends_at, self._look)
                return
            del self._running[first]
            first.expire()


class _Wait:
    """The time that one task has.

    Attributes:
        ends_at: When it is over, by the loop's clock.
    """

    __slots__ = ("_cancelled_before", "_expired", "_limit", "_task", "ends_at")

    def __init__(self, limit: SharedTimeout) -> None:
        self._limit = limit
        self._expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelled_before = task, task.cancelling()
        self.ends_at = self._limit.add(self)
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
            self._limit.remove(self)
        elif self._task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError:
            raise TimeoutError from error  # nobody else cancelled the task
