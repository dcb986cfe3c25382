"""`rerank emulate`: run the offline rerank service."""

from typing import Any

import click

from jobs.emulator.config import DISTORTIONS, EmulatorConfig
from jobs.emulator.faults import NAMES, Fault
from jobs.emulator.vendor_formats import FORMATS
from jobs.options.command import Command
from jobs.options.config_file import config_option
from jobs.options.listen_options import listen_options
from jobs.options.types import COUNT, NOT_NEGATIVE, POSITIVE_NUMBER, Number
from jobs.process.event_loop import ServerJob, run_until_interrupted
from pipeline.core.errors import SettingsError


class _FaultType(click.ParamType[Fault]):
    name = "NAME[=RATE|@K]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Fault:
        try:
            return value if isinstance(value, Fault) else Fault.parse(str(value))
        except SettingsError as error:
            self.fail(str(error), param, ctx)


@click.command(
    cls=Command, examples=("rerank emulate --port 8800 --requests-per-minute 600 --fault 503=0.05",)
)
@listen_options
@click.option(
    "--format",
    type=click.Choice(list(FORMATS)),
    default="dashscope",
    show_default=True,
    help="Whose format to speak, at its usual path, beside the two of DashScope.",
)
@click.option("--api-key", help="The only key accepted. [default: any key that is not empty]")
@click.option(
    "--latency-ms",
    type=NOT_NEGATIVE,
    default=0,
    show_default=True,
    help="Minimum time from a request to its scores, in milliseconds.",
)
@click.option(
    "--requests-per-minute",
    type=POSITIVE_NUMBER,
    help="Quota of requests, per minute and, divided by 60, per second. [default: none]",
)
@click.option(
    "--tokens-per-minute",
    type=POSITIVE_NUMBER,
    help="Quota of tokens, per minute and, divided by 60, per second. [default: none]",
)
@click.option(
    "--clock-jitter",
    "clock_jitter_s",
    type=Number("seconds, less than 1", min=0, max=1, max_open=True),
    default=0,
    show_default=True,
    help="Seconds by which the windows of a quota are shortened: requests arrive less evenly than "
    "they are sent.",
)
@click.option(
    "--fail-rate",
    type=Number("a share from 0 to 1", min=0, max=1),
    default=0,
    show_default=True,
    help="Share of requests, from 0 to 1, that get a 500, a 503 or a reset connection.",
)
@click.option(
    "--fault",
    "faults",
    type=_FaultType(),
    multiple=True,
    help="A fault for every request, for a share RATE of them, or for the Kth alone; repeatable. "
    f"NAME is one of {', '.join(NAMES)}; poison refuses documents with `poison-pill`. "
    "[default: none]",
)
@click.option(
    "--seed",
    type=COUNT,
    default=0,
    show_default=True,
    help="Seed: equal seeds give equal faults, distortions, noise and request ids.",
)
@click.option(
    "--score-distortion",
    type=click.Choice(DISTORTIONS),
    default="none",
    show_default=True,
    help="How scores depend on their request; drawn for each request's content.",
)
@click.option(
    "--score-noise",
    type=NOT_NEGATIVE,
    default=0,
    show_default=True,
    help="Standard deviation of normal noise on a score's logit.",
)
@click.option("--score-digits", type=COUNT, help="Decimal digits of a score. [default: all]")
@config_option
@click.option("--exit-with-parent", is_flag=True, hidden=True, help="End when stdin ends.")
def emulate(exit_with_parent: bool, **settings: Any) -> None:
    """Run an offline rerank service with the formats, limits and errors of the hosted one.

    It serves the native path /api/v1/services/rerank/text-rerank/text-rerank and the compatible
    path /compatible-api/v1/reranks, and those of another vendor with --format, which take any model
    and refuse any unknown field. Its scores are lexical and pointwise; an instruction does not
    change them. /emulator/stats shows counts of the requests so far. The full address of the
    format's endpoint is the first line on stdout. It runs until Ctrl-C or SIGTERM.
    """
    from jobs.emulator.lifecycle import serve

    config = EmulatorConfig(**settings)
    job = ServerJob()
    run_until_interrupted(
        lambda: serve(config, click.echo, job.end, exit_with_parent=exit_with_parent), job
    )
