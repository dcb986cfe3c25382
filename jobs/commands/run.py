"""`rerank run`: the main job."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from jobs.console.log_options import LogOptions, log_options, set_up_log
from jobs.console.metrics_file import MetricsFile
from jobs.console.printing import emit_json, json_option, not_printed_is_no_failure
from jobs.console.progress import Partitions, progress_display
from jobs.console.run_report import show_report
from jobs.options.command import Command
from jobs.options.help_page import option
from jobs.options.model_notes import model_notes
from jobs.options.run_options import settings_options
from jobs.options.settings import make_settings, read_api_key
from jobs.options.types import SECONDS_OR_NONE
from jobs.process.allocator import prepare_for_run
from jobs.process.event_loop import run_until_interrupted
from jobs.process.telemetry import telemetry_of_environment
from pipeline.api.emulator_process import starting_emulator
from pipeline.core.errors import SettingsError
from pipeline.core.events import log_event
from pipeline.core.providers import EMULATOR_PATH
from pipeline.core.settings import RunSettings

if TYPE_CHECKING:
    from pipeline.dataset.backfill import Backfill
    from pipeline.dataset.rerank import DatasetRun
    from pipeline.dataset.session import Session

log = logging.getLogger(__name__)


@click.command(
    cls=Command,
    in_sections=True,
    examples=(
        "rerank run sample_data/candidates.parquet out/sample --provider emulator",
        "rerank run candidates/ reranked/ --max-cost 20 --top-n 100",
        "rerank run s3://b/candidates/ s3://b/reranked/ --score-store s3://b/scores",
    ),
)
@click.argument("input_name", metavar="INPUT")
@click.argument("output_name", metavar="OUTPUT")
@settings_options
@option(
    "--score-store",
    metavar="PLACE",
    section="Cost and reuse",
    example="scores/",
    help="Folder or URI of the score store. [default: OUTPUT/_scores]",
)
@option(
    "--reuse",
    type=click.Choice(["exact", "partial"]),
    default="exact",
    show_default=True,
    section="Cost and reuse",
    help="When to reuse a stored answer: for the same request, or also for a query with new "
    "documents, which are sent alone with a few old ones to link them.",
)
@option(
    "--quota",
    metavar="URL",
    section="Pace",
    example="http://127.0.0.1:8900",
    help="Lease the quota from rerank quota serve (http://...) or Redis (redis://...), for all "
    "processes that use the account. [default: not shared]",
)
@option(
    "--quota-token-env",
    metavar="VARIABLE",
    section="Pace",
    example="RERANK_QUOTA_TOKEN",
    help="Variable that holds the token for --quota. [default: no token]",
)
@option(
    "--lock-wait",
    type=SECONDS_OR_NONE,
    metavar="SECONDS",
    default=0.0,
    show_default=True,
    section="Continue",
    help="Seconds to wait for another run on OUTPUT to end.",
)
@option(
    "--shard",
    metavar="I/N",
    section="Advanced",
    example="1/4",
    help="Rerank share I of N alone, with its own parts of OUTPUT; rerank commit finishes it. "
    "[default: all of INPUT]",
)
@option(
    "--dask",
    metavar="CLUSTER",
    section="Advanced",
    example="local:2",
    help="Rerank in shards on the Dask cluster of this scheduler's address, or on local:N, so many "
    "processes of this machine. [default: in this process]",
)
@option(
    "--restart",
    is_flag=True,
    section="Continue",
    help="Discard the parts of OUTPUT, but keep its score store.",
)
@option(
    "--progress/--no-progress",
    default=True,
    section="Display",
    help="Show progress on stderr: a line on a terminal, else an event every 30 seconds. "
    "[default: progress]",
)
@option(
    "--metrics-file",
    metavar="FILE",
    section="Display",
    example="/var/lib/node_exporter/rerank.prom",
    help="Write the numbers of the run for Prometheus' node_exporter, every 5 seconds. "
    "[default: none]",
)
@log_options
@json_option
def run(
    input_name: str,
    output_name: str,
    progress: bool,
    metrics_file: str | None,
    as_json: bool,
    dask: str | None,
    **options: Any,
) -> None:
    """Rerank the candidates of INPUT into OUTPUT.

    INPUT is a file, a folder, a glob or an object-store URI; OUTPUT a folder or a URI. The same
    command continues an interrupted run and pays only for what is missing. While it runs,
    OUTPUT/_pace.json changes its pace: {"requests_per_minute": 1200, "max_in_flight": 32}.
    """
    shown = set_up_log(options)
    if dask is not None:
        if metrics_file is not None:
            raise SettingsError(
                "a run on Dask writes none: its shards are runs of their own",
                which="--metrics-file",
                cure="leave it out; rerank status OUTPUT shows how far they are",
            )
        from jobs.commands.dask_run import run_on_dask

        run_on_dask(dask, input_name, output_name, options, shown, as_json=as_json)
        return
    api_key = read_api_key(options)
    with prepared_settings(options) as settings, telemetry_of_environment() as telemetry:
        from pipeline.dataset.rerank import DatasetRun
        from pipeline.dataset.session import Session

        metrics = locate_metrics(metrics_file, settings, output_name)
        session = Session(settings, api_key, telemetry=telemetry)
        job = DatasetRun(session, input_name, output_name)
        try:
            run_to_end(session, job, shown, progress=progress, metrics=metrics)
        finally:
            summary = job.snapshot()
            with not_printed_is_no_failure():
                if as_json and job.has_begun:
                    emit_json(summary.as_json())
                elif not (as_json or shown.quiet) and summary.state in ("done", "partial"):
                    show_report(summary, settings, output_name)


def run_to_end(
    session: "Session",
    job: "DatasetRun | Backfill",
    shown: LogOptions,
    *,
    progress: bool,
    partitions: Partitions | None = None,
    metrics: MetricsFile | None = None,
) -> None:
    """Run the job in an event loop of its own; SIGINT and SIGTERM stop it cleanly.

    Args:
        session: Access to the service, not open yet.
        job: A run of this session, or a backfill.
        shown: Which logs may be shown on stderr.
        progress: Whether to show progress there.
        partitions: Of a backfill, as for `progress_display`.
        metrics: Where its numbers are written for Prometheus; None for nowhere.

    Raises:
        RerankError: as `DatasetRun.run` does.
    """
    import uvloop

    async def work() -> None:
        may_be_line = shown.log_format == "text" and not shown.quiet
        display = progress_display(
            job, session, partitions=partitions, wanted=progress, may_be_line=may_be_line
        )
        written = nullcontext() if metrics is None else metrics.following(job.snapshot)
        with display, written:
            async with session:
                await job.run()

    prepare_for_run()
    run_until_interrupted(work, session, loop_factory=uvloop.new_event_loop)


def locate_metrics(name: str | None, settings: RunSettings, output_name: str) -> MetricsFile | None:
    """Return the writer of `--metrics-file`; None without that option.

    Raises:
        SettingsError: if it cannot be written.
    """
    if name is None:
        return None
    labels = {"output": output_name, "provider": settings.provider.name}
    return MetricsFile(name, labels | {"model": settings.profile.name})


@contextmanager
def prepared_settings(options: dict[str, Any]) -> Iterator[RunSettings]:
    """Make the settings; provider `emulator` without `--url` gets an emulator of its own."""
    if options["provider"] != "emulator" or options["url"]:
        settings = make_settings(options)
        for note in model_notes(settings):
            log_event(log, logging.WARNING, "model.doubtful", reason=note)
        yield settings
        return
    make_settings(options, url="http://emulator")  # refuse bad settings before anything starts
    with starting_emulator() as address:
        import pipeline.dataset.rerank  # noqa: F401  # slow; meanwhile the emulator starts

        yield make_settings(options, url=address() + EMULATOR_PATH)
