"""The options that `run` and `plan` share.

The command line takes precedence over RERANK_<COMMAND>_<OPTION>, that over --config or rerank.toml,
and that over the defaults. The order of an option here is its order within its section.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from jobs.options.config_file import config_option
from jobs.options.help_page import option
from jobs.options.prepare_options import PREPARE_OPTIONS
from jobs.options.service_options import LIMIT_OPTIONS, service_options
from jobs.options.types import COUNT, MINUTES, POSITIVE_COUNT, POSITIVE_NUMBER, USD, Number

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_MAX_IN_FLIGHT = 128

_SETTINGS_OPTIONS = (
    option(
        "--fps",
        type=Number("a number from 0 to 1", min=0, max=1),
        metavar="N",
        section="Service",
        example=1,
        help="Frames per second of a video that the model looks at, from 0 to 1. "
        "[default: the model's]",
    ),
    option(
        "--top-n",
        type=POSITIVE_COUNT,
        metavar="N",
        section="Output",
        example=100,
        help="Keep this many candidates of each query.",
    ),
    option(
        "--requests-per-minute",
        type=POSITIVE_NUMBER,
        metavar="N",
        section="Pace",
        example=5_400,
        help="Quota of requests. [default: the model's]",
    ),
    option(
        "--tokens-per-minute",
        type=POSITIVE_NUMBER,
        metavar="N",
        section="Pace",
        example=5_000_000,
        help="Quota of tokens. [default: the model's]",
    ),
    option(
        "--max-in-flight",
        type=POSITIVE_COUNT,
        metavar="N",
        default=DEFAULT_MAX_IN_FLIGHT,
        show_default=True,
        section="Pace",
        help="Maximum number of requests in flight.",
    ),
    option(
        "--max-documents-in-flight",
        type=POSITIVE_COUNT,
        metavar="N",
        section="Pace",
        example=2_000,
        help="Maximum number of documents in flight. [default: no limit]",
    ),
    option(
        "--max-attempts",
        type=POSITIVE_COUNT,
        metavar="N",
        default=5,
        show_default=True,
        section="Failures",
        help="Attempts per request before it is rejected.",
    ),
    option(
        "--max-outage",
        type=MINUTES,
        metavar="MINUTES",
        section="Failures",
        example=10,
        help="Minutes without any scores after which the run ends; by default half a minute only "
        "while the service was never reached. [default: 10]",
    ),
    option(
        "--max-cost",
        type=USD,
        metavar="USD",
        section="Cost and reuse",
        example=20,
        help="Maximum cost of all runs on OUTPUT in US dollars; never exceeded.",
    ),
    option(
        "--max-rejects",
        type=COUNT,
        metavar="N",
        default=0,
        show_default=True,
        section="Failures",
        help="Number of rejected candidates up to which the run succeeds.",
    ),
    *LIMIT_OPTIONS,
    option(
        "--merge",
        type=click.Choice(["auto", "trust"]),
        default="auto",
        show_default=True,
        section="Advanced",
        help="Test whether scores of different requests are comparable, or trust that they are.",
    ),
    option(
        "--certify-depth",
        type=POSITIVE_COUNT,
        metavar="N",
        section="Advanced",
        example=10,
        help="Depth to which a final request settles the order. [default: top-n, else 10 to 100]",
    ),
    option(
        "--long-documents",
        type=click.Choice(["truncate", "max-passage"]),
        default="truncate",
        show_default=True,
        section="Advanced",
        help="Truncate documents over the token limit, or score their passages and take the best.",
    ),
    *PREPARE_OPTIONS,
    option(
        "--duplicates",
        type=click.Choice(["keep", "first"]),
        default="keep",
        show_default=True,
        section="Input",
        help="Which rows of a repeated doc_id in a query to keep: all, or the first.",
    ),
    option(
        "--with-text",
        is_flag=True,
        section="Output",
        help="Also write query and text to the output.",
    ),
    option(
        "--groups-per-part",
        type=POSITIVE_COUNT,
        metavar="N",
        default=1_000,
        show_default=True,
        section="Output",
        help="Queries in one output file.",
    ),
)


def settings_options(command: Command) -> Command:
    """Add the options that `make_settings` reads, and `--config`."""
    for decorate in reversed(_SETTINGS_OPTIONS):
        command = decorate(command)
    return config_option(service_options(command))
