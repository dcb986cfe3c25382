"""A leaser in this process, which can be slow, hang, be gone, or begin anew without its memory."""

import asyncio
from types import TracebackType
from typing import Any, Self

from pipeline.service.throttle.leases.leaser import LeaserLost
from pipeline.service.throttle.leases.ledger import Ledger
from pipeline.service.throttle.leases.messages import Ask, Grant, LeaseTimes


class FakeLeaser:
    """A ledger behind a line that can break.

    Args:
        quota: Of the ledger.
        clock_ahead_s: How far its clock is ahead of the loop's.
    """

    name = "fake"

    def __init__(self, *quota: float | None, clock_ahead_s: float = 5_000.0, **times: Any) -> None:
        self._quota = quota
        self._times = LeaseTimes(**times)
        self._clock_ahead_s = clock_ahead_s
        self.state = "up"
        self.latency_s = 0.002
        self.asked = 0
        self.restart()

    def restart(self) -> None:
        """Begin anew, with no memory of takers."""
        self.ledger = Ledger(*self._quota, times=self._times)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    async def ask(self, ask: Ask) -> Grant:
        self.asked += 1
        await asyncio.sleep(self.latency_s / 2)
        while self.state == "hangs":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        if self.state == "gone":
            raise LeaserLost("connection refused")
        grant = self.ledger.ask(asyncio.get_running_loop().time() + self._clock_ahead_s, ask)
        await asyncio.sleep(self.latency_s / 2)
        if self.state != "up":
            raise LeaserLost("connection reset")
        return grant
