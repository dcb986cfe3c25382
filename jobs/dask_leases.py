"""Let the scheduler of a Dask cluster lease the quota to the shards on it.

Every worker reaches the scheduler already, by the cluster's own connections and certificates, and
if it is lost the work ends anyway. An actor would live in one of the workers and die with it, and
workers need not reach a server that the driver starts.
"""

import asyncio
import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import distributed
import msgspec
from distributed.diagnostics.plugin import SchedulerPlugin

from pipeline.service.throttle.leases.leaser import LeaserLost
from pipeline.service.throttle.leases.ledger import Ledger
from pipeline.service.throttle.leases.messages import Ask, Grant

PLUGIN_NAME: Final = "rerank-pipeline"
DRIVER_GONE_S: Final = 30.0
"""Seconds of silence after which a driver counts as gone, and its shards stop."""


class RerankPlugin(SchedulerPlugin):
    """Leases quotas to the shards on a cluster, and knows which runs are still wanted."""

    idempotent = True

    def __init__(self) -> None:
        self._ledgers: dict[str, Ledger] = {}
        self._wanted: dict[str, float] = {}

    async def start(self, scheduler: distributed.Scheduler) -> None:
        """Answer workers and drivers."""
        scheduler.handlers |= {
            "rerank_lease": self.lease,
            "rerank_want": self.want,
            "rerank_is_wanted": self.is_wanted,
        }

    async def lease(self, bucket: str, ask: bytes) -> bytes:
        """Answer a taker of a quota."""
        ledger = self._ledgers.setdefault(bucket, Ledger())
        grant = ledger.ask(time.monotonic(), msgspec.json.decode(ask, type=Ask))
        return msgspec.json.encode(grant)

    async def want(self, run: str, wanted: bool) -> None:
        """Record whether a driver wants its run to go on; a run that was given up stays so."""
        if not wanted:
            self._wanted[run] = -math.inf
        elif self._wanted.get(run) != -math.inf:
            self._wanted[run] = time.monotonic()

    async def is_wanted(self, run: str) -> bool:
        """Return whether a run's driver wants it, and was heard lately."""
        return time.monotonic() - self._wanted.get(run, -math.inf) < DRIVER_GONE_S


class SchedulerLeaser:
    """Leases of one quota by the scheduler, from the thread of a task.

    Args:
        worker: Where the task runs.
        bucket: The name of the quota.
    """

    name = "the cluster's scheduler"

    def __init__(self, worker: distributed.Worker, bucket: str) -> None:
        self._worker = worker
        self._bucket = bucket

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    async def ask(self, ask: Ask) -> Grant:
        """Return the scheduler's answer, as `Leaser` promises."""
        message = msgspec.json.encode(ask)
        try:
            granted = await call_on_worker(
                self._worker,
                lambda: self._worker.scheduler.rerank_lease(bucket=self._bucket, ask=message),
            )
            return msgspec.json.decode(granted, type=Grant)
        except (OSError, RuntimeError, msgspec.MsgspecError) as error:  # or the worker closes
            raise LeaserLost(str(error) or type(error).__name__) from error


async def call_on_worker(worker: distributed.Worker, call: Callable[[], Any]) -> Any:
    """Return the result of a call over a worker's connections, which belong to its own loop."""

    async def made() -> Any:
        return await call()

    loop: asyncio.AbstractEventLoop = getattr(worker.loop, "asyncio_loop")  # noqa: B009  # untyped
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(made(), loop))
