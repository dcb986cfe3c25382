"""An event loop on a virtual clock, which jumps to the next timer when nothing else is ready."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_TICK_S = 1e-6
_INSTANT_S = 1e-9
"""Wake-ups are never early, and every poll moves the clock: no two happen at the same instant."""


class _JumpingSelector(selectors.SelectSelector):
    """Never reports input; moves the clock instead of waiting."""

    def __init__(self, lateness_s: Callable[[], float]) -> None:
        super().__init__()
        self.now = 0.0
        self._lateness_s = lateness_s

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "every task waits, and no timer is set: deadlock"
        self.now += timeout + _TICK_S + self._lateness_s() if timeout > 0 else _INSTANT_S
        return []


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop for code that waits for timers and futures, not for sockets."""

    def __init__(self, lateness_s: Callable[[], float]) -> None:
        self._jumping = _JumpingSelector(lateness_s)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(main: Coroutine[Any, Any, T], *, lateness_s: Callable[[], float] = lambda: 0.0) -> T:
    """Run `main` to its end without waiting.

    Args:
        main: The coroutine.
        lateness_s: Seconds by which the next wake-up is late, as on a real loop.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualClockLoop(lateness_s)) as runner:
        return runner.run(main)


def on_virtual_clock(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Decorate an async test whose waits shall take no time."""

    @functools.wraps(test)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return wrapped
