"""A run in shards on a Dask cluster, under one quota; needs the extra `dask`.

Each worker runs the same code on its shard as `rerank run --shard` does, and writes its own parts.
Dask gives the shard of a lost worker to another one, which goes on from the parts and the store.
"""

import logging
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any, Final

import distributed
from msgspec.structs import asdict, replace

from jobs.dask_leases import PLUGIN_NAME, RerankPlugin
from jobs.dask_shard import LOCK_WAIT_S, run_shard, summary_of
from jobs.dask_summary import merge_summaries
from jobs.process.event_loop import run_until_interrupted
from pipeline.api.emulator_process import emulator_process
from pipeline.api.options import RunOptions
from pipeline.core.errors import SettingsError
from pipeline.core.events import log_event
from pipeline.core.providers import EMULATOR_PATH
from pipeline.dataset.commit_shards import commit_output
from pipeline.dataset.summary import RunSummary

log = logging.getLogger(__name__)

_TELL_S: Final = 1.0
"""Seconds between two messages to the scheduler that the run is still wanted."""
_DRAIN_S: Final = 4.7
"""For how long a stopped driver waits for its shards."""


def rerank_on_cluster(
    client: distributed.Client,
    input_path: str,
    output_path: str,
    *,
    shards: int | None = None,
    **options: Any,
) -> RunSummary:
    """Rerank a dataset on a cluster, or what is missing of it, and commit the output.

    Input and output must be reachable by the same names from every worker and from here; the key
    and the settings of object stores come from the workers' environment. Scheduler and workers
    need this package. The output is the same bytes as that of a run in one process.

    Args:
        client: Client of the cluster.
        input_path: A file, a folder or a glob of candidates, or an address.
        output_path: The folder or the address to write to.
        shards: How many; by default one a worker. One that has several threads may get more.
        options: Those of `pipeline.rerank`; `quota` names another leaser than the scheduler.

    Returns:
        The numbers of all shards together.

    Raises:
        RerankError: of the shard that failed first; the others were stopped, and everything paid
            is saved. `Interrupted` on SIGINT and SIGTERM, where they raise it.
    """
    chosen = RunOptions.of(options)
    for name in ("shard", "restart"):
        if getattr(chosen, name):
            raise SettingsError("has no meaning on a cluster", which=name, cure="leave it out")
    with _with_address(chosen) as addressed:
        return _rerank(client, input_path, output_path, addressed, shards)


def _rerank(
    client: distributed.Client, source: str, output: str, options: RunOptions, shards: int | None
) -> RunSummary:
    options.settings(url=options.url)  # refuse what cannot be used before anything is sent
    count = shards or len(client.scheduler_info()["workers"])
    if count < 1:
        raise SettingsError("the cluster has no workers", which="--dask")
    began, run_id = time.monotonic(), uuid.uuid4().hex
    with _wanted(client, run_id):
        work = [
            client.submit(
                run_shard,
                *(run_id, source, output),
                asdict(replace(options, shard=f"{index}/{count}")),
                key=f"rerank-{run_id}-{index}",
                pure=False,
            )
            for index in range(1, count + 1)
        ]
        summaries = _gather(client, run_id, work)
    done = run_until_interrupted(
        lambda: commit_output(output, max_rejects=options.max_rejects, lock_wait_s=LOCK_WAIT_S)
    )
    merged = merge_summaries(summaries, seconds=time.monotonic() - began)
    return replace(merged, groups=done.groups, parts=done.parts, rejected=done.rejected)


@contextmanager
def local_cluster(workers: int) -> Iterator[distributed.Client]:
    """Yield a client of a cluster of so many processes on this machine, only on loopback."""
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with _kept_from_children(signal.SIGINT):  # Ctrl-C is for the driver, which stops them
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.ERROR,
        )
    with cluster, distributed.Client(cluster) as client:
        yield client


@contextmanager
def _with_address(options: RunOptions) -> Iterator[RunOptions]:
    """Yield the options; provider `emulator` without an address gets an emulator here."""
    if options.provider != "emulator" or options.url is not None:
        yield options
        return
    with emulator_process() as address:
        yield replace(options, url=address + EMULATOR_PATH)


@contextmanager
def _kept_from_children(number: signal.Signals) -> Iterator[None]:
    """Keep a signal from the processes that are started in the body; it is raised afterwards.

    Processes, and threads that start processes, inherit the blocked signal.
    """
    resource_tracker.ensure_running()  # to start it later would unblock SIGINT in that thread
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _wanted(client: distributed.Client, run_id: str) -> Iterator[None]:
    """Tell the scheduler that a run is wanted while the body runs."""
    client.register_plugin(RerankPlugin(), name=PLUGIN_NAME)
    ended = threading.Event()

    def keep_telling() -> None:
        while not ended.wait(_TELL_S):
            with suppress(OSError):
                _tell(client, run_id, wanted=True)

    _tell(client, run_id, wanted=True)
    teller = threading.Thread(target=keep_telling, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
        with suppress(OSError):
            _tell(client, run_id, wanted=False)


def _tell(client: distributed.Client, run_id: str, *, wanted: bool) -> None:
    scheduler: Any = client.scheduler
    client.sync(scheduler.rerank_want, run=run_id, wanted=wanted)


def _gather(client: distributed.Client, run_id: str, work: list[Any]) -> list[RunSummary]:
    """Return the numbers of all shards; stop all of them at the first that fails."""
    summaries: list[RunSummary] = []
    try:
        for _, ended in distributed.as_completed(work, with_results=True):
            summaries.append(summary_of(ended))
            log_event(log, logging.INFO, "shard.done", done=len(summaries), of=len(work))
    except BaseException:  # a failure or a signal: the shards save what they have
        _tell(client, run_id, wanted=False)
        with suppress(TimeoutError):
            distributed.wait(work, timeout=_DRAIN_S)
        raise
    return summaries
