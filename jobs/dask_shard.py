"""One shard of a run on a Dask cluster, in a thread of a worker."""

import asyncio
import signal
from typing import Any, Final

import distributed
from msgspec import Struct
from msgspec.structs import replace

from jobs.dask_leases import SchedulerLeaser, call_on_worker
from pipeline.api.options import RunOptions
from pipeline.core import errors
from pipeline.core.background import background
from pipeline.core.errors import Interrupted, RerankError, TooManyRejects, first_leaf
from pipeline.dataset.rerank import DatasetRun
from pipeline.dataset.session import Session
from pipeline.dataset.summary import RunSummary
from pipeline.service.throttle.leases.connect import quota_name

_ASK_S: Final = 1.0
"""Seconds between two questions whether the shard is still wanted."""
LOCK_WAIT_S: Final = 90.0
"""On an object store the lock of a lost worker expires after a minute."""


class ShardEnd(Struct, frozen=True):
    """How a shard ended; an error by its class and its words, since not all can be pickled."""

    summary: RunSummary | None = None
    error: str = ""
    message: str = ""


def run_shard(run_id: str, source: str, output: str, options: dict[str, Any]) -> ShardEnd:
    """Run one shard in a thread of a worker, in an event loop of its own."""
    import uvloop

    worker = distributed.get_worker()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            summary = runner.run(_work(worker, run_id, source, output, RunOptions.of(options)))
    except RerankError as error:
        return ShardEnd(error=type(error).__name__, message=str(error))
    return ShardEnd(summary)


async def _work(
    worker: distributed.Worker, run_id: str, source: str, output: str, options: RunOptions
) -> RunSummary:
    settings = options.settings(url=options.url)
    settings = replace(settings, lock_wait_s=max(settings.lock_wait_s, LOCK_WAIT_S))
    api_key = options.api_key()
    leaser = None
    if settings.quota is None:
        leaser = SchedulerLeaser(worker, quota_name(settings, api_key))
    session = Session(settings, api_key, leaser=leaser)
    job = DatasetRun(session, source, output)
    try:
        async with background(_stop_unwanted(worker, run_id, session), name="is-wanted"), session:
            return await job.run()
    except TooManyRejects:
        return job.snapshot()  # the commit counts those of all shards
    except BaseExceptionGroup as group:
        raise first_leaf(group) from group


async def _stop_unwanted(worker: distributed.Worker, run_id: str, session: Session) -> None:
    """Stop a shard once its driver no longer wants it; runs until cancelled."""
    while True:
        try:
            wanted = await call_on_worker(
                worker, lambda: worker.scheduler.rerank_is_wanted(run=run_id)
            )
        except OSError:  # the scheduler is out of reach for a moment
            wanted = True
        except RuntimeError:  # the worker closes its connections
            wanted = False
        if not wanted and not session.is_stopping:
            session.stop(signal.SIGTERM)
        await asyncio.sleep(_ASK_S)


def summary_of(ended: ShardEnd) -> RunSummary:
    """Return the numbers of a shard, or raise its error."""
    if ended.summary is not None:
        return ended.summary
    if ended.error == Interrupted.__name__:
        raise Interrupted(signal.SIGTERM)
    found = getattr(errors, ended.error, RerankError)
    error: RerankError = found.__new__(found)
    RerankError.__init__(error, ended.message)
    raise error
