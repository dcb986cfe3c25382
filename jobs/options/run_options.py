"""The options that `run` and `plan` share.

The command line takes precedence over RERANK_<COMMAND>_<OPTION>, and that over --config.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from jobs.options.config_file import config_option
from jobs.options.prepare_options import PREPARE_OPTIONS
from jobs.options.service_options import LIMIT_OPTIONS, service_options
from jobs.options.types import POSITIVE_NUMBER

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_MAX_IN_FLIGHT = 128

_positive = click.IntRange(min=1)

_SETTINGS_OPTIONS = (
    click.option("--top-n", type=_positive, help="Keep this many candidates of each query."),
    click.option(
        "--requests-per-minute",
        type=POSITIVE_NUMBER,
        help="Quota of requests. [default: the model's]",
    ),
    click.option(
        "--tokens-per-minute", type=POSITIVE_NUMBER, help="Quota of tokens. [default: the model's]"
    ),
    click.option(
        "--max-in-flight",
        type=_positive,
        default=DEFAULT_MAX_IN_FLIGHT,
        show_default=True,
        help="Maximum number of requests in flight.",
    ),
    click.option(
        "--max-documents-in-flight",
        type=_positive,
        help="Maximum number of documents in flight. [default: no limit]",
    ),
    click.option(
        "--max-attempts",
        type=_positive,
        default=5,
        show_default=True,
        help="Attempts per request before it is rejected.",
    ),
    click.option(
        "--max-outage",
        type=POSITIVE_NUMBER,
        help="Minutes without any scores after which the run ends; by default half a minute only "
        "while the service was never reached. [default: 10]",
    ),
    click.option(
        "--max-cost",
        type=POSITIVE_NUMBER,
        help="Maximum cost of all runs on OUTPUT in US dollars; never exceeded.",
    ),
    click.option(
        "--max-rejects",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Number of rejected candidates up to which the run succeeds.",
    ),
    *LIMIT_OPTIONS,
    click.option(
        "--merge",
        type=click.Choice(["auto", "trust"]),
        default="auto",
        show_default=True,
        help="Test whether scores of different requests are comparable, or trust that they are.",
    ),
    click.option(
        "--certify-depth",
        type=_positive,
        help="Depth to which a final request settles the order. [default: top-n, else 10 to 100]",
    ),
    click.option(
        "--long-documents",
        type=click.Choice(["truncate", "max-passage"]),
        default="truncate",
        show_default=True,
        help="Truncate documents over the token limit, or score their passages and take the best.",
    ),
    click.option(
        "--duplicates",
        type=click.Choice(["keep", "first"]),
        default="keep",
        show_default=True,
        help="Which rows of a repeated doc_id in a query to keep: all, or the first.",
    ),
    *PREPARE_OPTIONS,
    click.option("--with-text", is_flag=True, help="Also write query and text to the output."),
    click.option(
        "--groups-per-part",
        type=_positive,
        default=1_000,
        show_default=True,
        help="Queries in one output file.",
    ),
)


def settings_options(command: Command) -> Command:
    """Add the options that `make_settings` reads, and `--config`."""
    for option in reversed(_SETTINGS_OPTIONS):
        command = option(command)
    return config_option(service_options(command))
