"""Stop a run cleanly: end its waits at once, and let paid requests finish."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pipeline.core.errors import RerankError


class StopSwitch:
    """Ends the waits of many tasks with one error; for one event loop.

    Use: `with stop_switch.interruptible(): await something()`. Waits that are cut short must be
    safe to cancel. What is awaited outside such a block is not affected.

    Attributes:
        error: The error given to `stop`; None before.
        on_stop: Called once, when it is stopped.
        waits: The blocks that are entered and not yet left, in order.
    """

    def __init__(self) -> None:
        self.error: RerankError | None = None
        self.on_stop: list[Callable[[], None]] = []
        self.waits: dict[_Wait, None] = {}

    def __repr__(self) -> str:
        return f"<StopSwitch {'stopped' if self.error else 'running'} waits={len(self.waits)}>"

    def stop(self, error: RerankError) -> None:
        """Raise `error` in all waits and in all later ones; only the first call counts."""
        if self.error is None:
            self.error = error
            while self.waits:
                self.waits.popitem()[0].interrupt(error)
            for call in self.on_stop:
                call()

    def raise_if_stopped(self) -> None:
        """Raise the error given to `stop`, if it was called."""
        if self.error is not None:
            raise self.error.with_traceback(None)

    def interruptible(self, other: "StopSwitch | None" = None) -> "_Wait":
        """Return a context manager for the running task, to be entered at once and only once.

        It raises the error given to `stop` when it is entered, or at the wait in its body.

        Args:
            other: A switch that interrupts the body too.
        """
        return _Wait(self, other)


class _Wait:
    """A block of one task that one of two switches may interrupt."""

    __slots__ = ("_cancelled_before", "_error", "_other", "_switch", "_task")

    def __init__(self, switch: StopSwitch, other: StopSwitch | None) -> None:
        self._switch = switch
        self._other = other
        self._error: RerankError | None = None

    def __enter__(self) -> Self:
        self._switch.raise_if_stopped()
        if self._other is not None:
            self._other.raise_if_stopped()
            self._other.waits[self] = None
        self._switch.waits[self] = None
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelled_before = task, task.cancelling()
        return self

    def interrupt(self, error: RerankError) -> None:
        """Cancel what the task waits for, once; `error` says why."""
        if self._error is None:
            self._error = error
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._switch.waits.pop(self, None)
        if self._other is not None:
            self._other.waits.pop(self, None)
        if self._error is None:
            return
        if self._task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError:
            raise self._error.with_traceback(None)  # nobody else cancelled the task
