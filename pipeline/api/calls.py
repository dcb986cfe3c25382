"""The calls of the library: rerank a dataset, or plan a run of it.

The blocking calls run in a thread with an event loop of its own, so that they also work where a
loop is running already, as in a notebook.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from os import PathLike, fspath
from typing import Any, Final, TypeAlias

import uvloop

from pipeline.api.ctrl_c import stopped_by_ctrl_c
from pipeline.api.emulator_process import starting_emulator
from pipeline.api.options import RunOptions
from pipeline.api.progress import ProgressBar
from pipeline.core.errors import SettingsError
from pipeline.core.providers import EMULATOR_PATH
from pipeline.dataset.plan import DatasetPlan, plan_dataset
from pipeline.dataset.rerank import DatasetRun
from pipeline.dataset.run_input import opened_input
from pipeline.dataset.session import Session
from pipeline.dataset.summary import RunSummary
from pipeline.service.telemetry import telemetry_in_use

Place: TypeAlias = str | PathLike[str]
"""A path or an address: `s3://`, `gs://` or `abfs://`."""

Progress: TypeAlias = Callable[[RunSummary], object]
"""Called at intervals with the numbers of a run so far, and at its end, in the run's thread."""

_PLAN_URL: Final = "http://plan.invalid"
"""The address of a provider that has none of its own; a plan sends nothing."""


async def arerank(
    input: Place,
    output: Place,
    *,
    progress: Progress | bool = False,
    progress_every_s: float = 1.0,
    **options: Any,
) -> RunSummary:
    """Rerank a dataset, or what is missing of it, as `rerank run` does.

    Args:
        input: A file, a folder or a glob of candidates, or an address.
        output: The folder or the address to write to.
        progress: Called at intervals with the numbers so far; True shows a bar.
        progress_every_s: How often, in seconds.
        options: Those of `RunOptions`, which are those of the command.

    Returns:
        The numbers of the run.

    Raises:
        RerankError: with `exit_code`, as the command ends; see `DatasetRun.run`.
    """
    async with _started(input, output, RunOptions.of(options)) as (_, job):
        return await _watched(job, progress, progress_every_s)


def rerank(
    input: Place,
    output: Place,
    *,
    progress: Progress | bool = False,
    progress_every_s: float = 1.0,
    **options: Any,
) -> RunSummary:
    """Do what `arerank` does, and return when it is done.

    Ctrl-C stops the run cleanly: wait for requests in flight, save their answers, then raise
    `Interrupted`. So does an exception that the program's own signal handler raises; it is raised
    again.
    """
    chosen = RunOptions.of(options)
    begun: Future[tuple[asyncio.AbstractEventLoop, Session]] = Future()

    async def work() -> RunSummary:
        async with _started(input, output, chosen) as (session, job):
            begun.set_result((asyncio.get_running_loop(), session))
            return await _watched(job, progress, progress_every_s)

    def run() -> RunSummary:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work())

    def stop() -> None:
        begun.add_done_callback(_stop)  # now, or as soon as the run has begun

    with (
        stopped_by_ctrl_c(stop),
        ThreadPoolExecutor(1, thread_name_prefix="rerank") as threads,
    ):
        try:
            return threads.submit(run).result()
        except BaseException:  # a handler of the program's own, or an error of the run
            stop()
            raise


def _stop(begun: "Future[tuple[asyncio.AbstractEventLoop, Session]]") -> None:
    loop, session = begun.result()
    with suppress(RuntimeError):  # the loop is closed: the run has ended
        loop.call_soon_threadsafe(session.stop, signal.SIGINT)


def plan(input: Place, **options: Any) -> DatasetPlan:
    """Return what `rerank` would do and cost with these options; send nothing, need no key.

    Args:
        input: A file, a folder or a glob of candidates, or an address.
        options: Those of `RunOptions`.

    Raises:
        RerankError: for options or candidates that cannot be used.
    """
    settings = RunOptions.of(options).settings(url=_PLAN_URL)
    with opened_input(_name(input, "input"), settings) as (source, _):
        return plan_dataset(source, settings)


@asynccontextmanager
async def _started(
    source: Place, output: Place, options: RunOptions
) -> AsyncIterator[tuple[Session, DatasetRun]]:
    """Yield a session and a run in it; provider `emulator` without `url` starts a service."""
    source_name, output_name = _name(source, "input"), _name(output, "output")
    api_key = options.api_key()
    with ExitStack() as child:
        url = None
        if options.provider == "emulator" and options.url is None:
            options.settings(url=_PLAN_URL)  # refuse bad options before anything starts
            address = child.enter_context(starting_emulator())
            url = await asyncio.to_thread(address) + EMULATOR_PATH
        telemetry = telemetry_in_use()
        async with Session(options.settings(url=url), api_key, telemetry=telemetry) as session:
            yield session, DatasetRun(session, source_name, output_name)


def _name(place: Place, argument: str) -> str:
    """Return a path or an address as text.

    Raises:
        SettingsError: if it is something else; its text would name a folder that nobody meant.
    """
    name: object = fspath(place) if isinstance(place, PathLike) else place
    if not isinstance(name, str) or not name:
        raise SettingsError(
            "not a path or an address",
            which=argument,
            found=repr(place),
            expected="one text or path",
        )
    return name


async def _watched(job: DatasetRun, wanted: Progress | bool, every_s: float) -> RunSummary:
    """Run a job; call `wanted` at intervals and at the end, also after a failure."""
    if wanted is False:
        return await job.run()
    progress = ProgressBar() if wanted is True else wanted

    async def watch() -> None:
        while True:
            await asyncio.sleep(every_s)
            progress(job.snapshot())

    watching = asyncio.create_task(watch())
    try:
        return await job.run()
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        if not watching.cancelled() and (error := watching.exception()) is not None:
            raise error
        progress(job.snapshot())
