"""Gates that stop tasks while something they need is out of order."""

import asyncio

from pipeline.core.errors import RerankError


class Gate:
    """Lets tasks pass while it is open; for one event loop.

    Attributes:
        is_open: Whether tasks pass; only the methods change it.
    """

    def __init__(self) -> None:
        self.is_open = True
        self._opened = asyncio.Event()
        self._opened.set()
        self._error: RerankError | None = None

    def __repr__(self) -> str:
        state = "broken" if self._error else "open" if self.is_open else "closed"
        return f"<Gate {state}>"

    def open(self) -> None:
        """Let all waiting tasks pass."""
        self.is_open = self._error is None
        self._opened.set()

    def close(self) -> None:
        """Make tasks wait."""
        self.is_open = False
        self._opened.clear()

    def break_with(self, error: RerankError) -> None:
        """Raise `error` in all tasks that wait now or later; only the first call counts."""
        self._error = self._error or error
        self.is_open = False
        self._opened.set()

    async def wait(self) -> None:
        """Wait until the gate is open.

        Raises:
            RerankError: the one given to `break_with`.
        """
        while not self.is_open:
            if self._error is not None:
                raise self._error.with_traceback(None)
            await self._opened.wait()


class Gates:
    """Several gates in a row: open while all of them are.

    Args:
        gates: Which ones.
    """

    def __init__(self, *gates: Gate) -> None:
        self._gates = gates

    @property
    def is_open(self) -> bool:
        """Whether tasks pass."""
        for gate in self._gates:  # a generator would cost more than all else here
            if not gate.is_open:
                return False
        return True

    async def wait(self) -> None:
        """Wait until all gates are open.

        Raises:
            RerankError: the one that a gate was broken with.
        """
        while not self.is_open:
            for gate in self._gates:
                await gate.wait()
