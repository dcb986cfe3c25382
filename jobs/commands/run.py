"""`rerank run`: the main job."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from jobs.console import logs
from jobs.console.printing import emit_json, json_option
from jobs.console.progress import shown_progress
from jobs.console.run_report import show_report
from jobs.options.run_options import settings_options
from jobs.options.settings import make_settings, read_api_key
from jobs.process.allocator import kept_flat
from jobs.process.signals import stop_when_interrupted
from pipeline.core.errors import TooManyRejects
from pipeline.core.providers import EMULATOR_PATH
from pipeline.core.settings import RunSettings

if TYPE_CHECKING:
    from pipeline.dataset.rerank import DatasetJob
    from pipeline.dataset.summary import RunSummary


@click.command()
@click.argument("input_name", metavar="INPUT")
@click.argument("output_name", metavar="OUTPUT")
@settings_options
@click.option("--score-store", help="Folder or URI of the paid answers. [default: OUTPUT/_scores]")
@click.option(
    "--reuse",
    type=click.Choice(["exact", "partial"]),
    default="exact",
    show_default=True,
    help="What paid answers serve: the same request, or also a query of which some documents are "
    "new: these alone are asked, with a few old ones to join them by.",
)
@click.option(
    "--lock-wait",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Seconds to wait for another run on OUTPUT.",
)
@click.option("--restart", is_flag=True, help="Drop what OUTPUT holds, but keep its paid answers.")
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Show progress on stderr: a bar on a terminal, else a line every 10 seconds. "
    "[default: progress]",
)
@logs.log_format_option
@json_option
def run(
    input_name: str,
    output_name: str,
    progress: bool | None,
    log_format: logs.LogFormat,
    as_json: bool,
    **options: Any,
) -> None:
    """Rerank the candidates of INPUT into OUTPUT.

    INPUT is a file, a folder, a glob or an object-store URI; OUTPUT a folder or a URI. The same
    command continues a run that was interrupted, and pays only for what is missing. While it runs,
    OUTPUT/_pace.json changes its pace: {"requests_per_minute": 1200, "max_in_flight": 32}.
    """
    logs.configure(log_format)
    api_key = read_api_key(options)
    with _service(options) as settings:
        from pipeline.dataset.rerank import DatasetJob

        job = DatasetJob(input_name, output_name, settings, api_key)
        try:
            summary = rerank(job, progress=progress is not False, bar=log_format == "text")
        finally:
            if as_json and job.has_begun:
                emit_json(job.look().as_json())
    if not as_json:
        show_report(summary, settings, output_name)
    if summary.rejected > settings.max_rejects:
        raise TooManyRejects(
            "candidates without a score",
            which=f"{output_name.rstrip('/')}/_rejects",
            found=summary.rejected,
            expected=f"at most {settings.max_rejects}",
            cure="the same command asks again for them alone",
        )


def rerank(job: "DatasetJob", *, progress: bool = False, bar: bool = True) -> "RunSummary":
    """Run the job in an event loop of its own; SIGINT and SIGTERM stop it in order.

    Args:
        job: What to run.
        progress: Whether to show how far it is.
        bar: Whether that may be a bar, on a terminal.

    Raises:
        RerankError: as `DatasetJob.run` does.
    """
    import uvloop

    async def work() -> "RunSummary":
        stop_when_interrupted(job)
        async with shown_progress(job.look, progress, bar=bar):
            return await job.run()

    with kept_flat(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())


@contextmanager
def _service(options: dict[str, Any]) -> Iterator[RunSettings]:
    """The settings, with an emulator of our own for provider `emulator` without --url."""
    if options["provider"] != "emulator" or options["url"]:
        yield make_settings(options)
        return
    make_settings(options, url="http://emulator")  # refuses at once what it would refuse later
    from jobs.emulator.child import emulator_process

    service, thread = emulator_process(), ThreadPoolExecutor(1)
    starting = thread.submit(service.__enter__)
    try:
        import pipeline.dataset.rerank  # noqa: F401  # takes as long as the service takes to start

        yield make_settings(options, url=starting.result() + EMULATOR_PATH)
    finally:
        thread.shutdown()
        if starting.exception() is None:
            service.__exit__(None, None, None)
