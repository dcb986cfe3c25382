"""An event loop whose time is ours: it jumps to the next timer as soon as nothing is left to do."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_TICK_S = 1e-6
_INSTANT_S = 1e-9
"""Wake-ups are never early, and time never stands still: no waiter asks the same instant twice."""


class _JumpingSelector(selectors.SelectSelector):
    """Reports no input, ever; instead of waiting it moves the clock."""

    def __init__(self, lateness_s: Callable[[], float]) -> None:
        super().__init__()
        self.now = 0.0
        self._lateness_s = lateness_s

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "every task waits, and no timer is set: deadlock"
        self.now += timeout + _TICK_S + self._lateness_s() if timeout > 0 else _INSTANT_S
        return []


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """For code that waits for timers and futures only, not for sockets."""

    def __init__(self, lateness_s: Callable[[], float]) -> None:
        self._jumping = _JumpingSelector(lateness_s)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(main: Coroutine[Any, Any, T], *, lateness_s: Callable[[], float] = lambda: 0.0) -> T:
    """Run `main` to its end in no time.

    Args:
        main: What to run.
        lateness_s: How late each wake-up is, in seconds, as those of a real loop are.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualClockLoop(lateness_s)) as runner:
        return runner.run(main)


def on_virtual_clock(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Decorate an async test whose waits shall take no time."""

    @functools.wraps(test)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return wrapped
