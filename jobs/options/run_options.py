"""The options of the commands that rerank.

Values come from the command line, then from RERANK_<COMMAND>_<OPTION>, then from --config.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from jobs.options.config_file import config_option
from pipeline.core.providers import PROVIDERS

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_MAX_IN_FLIGHT = 128

_positive = click.IntRange(min=1)
_positive_number = click.FloatRange(min=0, min_open=True)

_SETTINGS_OPTIONS = (
    click.option(
        "--provider",
        type=click.Choice(list(PROVIDERS)),
        default="dashscope",
        show_default=True,
        help="Preset of wire format, address, key variable and default model.",
    ),
    click.option("--model", help="Model to ask. [default: the provider's]"),
    click.option("--url", help="Full address of the endpoint. [default: the provider's]"),
    click.option(
        "--api-key-env",
        help="Environment variable that holds the key. [default: the provider's]",
    ),
    click.option("--instruct", help="Instruction for the model, in English."),
    click.option("--top-n", type=_positive, help="Keep this many candidates of each query."),
    click.option(
        "--requests-per-minute",
        type=_positive_number,
        help="Quota of requests. [default: the model's]",
    ),
    click.option(
        "--tokens-per-minute", type=_positive_number, help="Quota of tokens. [default: the model's]"
    ),
    click.option(
        "--max-in-flight",
        type=_positive,
        default=DEFAULT_MAX_IN_FLIGHT,
        show_default=True,
        help="Requests that wait for an answer at once.",
    ),
    click.option(
        "--max-documents-in-flight",
        type=_positive,
        help="Documents in those requests. [default: no bound]",
    ),
    click.option(
        "--max-attempts",
        type=_positive,
        default=5,
        show_default=True,
        help="Attempts for one request before it is given up.",
    ),
    click.option(
        "--max-outage",
        type=_positive_number,
        default=10.0,
        show_default=True,
        help="Minutes without any success before the run ends.",
    ),
    click.option(
        "--max-cost", type=_positive_number, help="US dollars that the run may cost; never more."
    ),
    click.option(
        "--max-rejects",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Candidates without a score that the run may end with.",
    ),
    click.option(
        "--max-documents", type=_positive, help="Documents in one request. [default: the model's]"
    ),
    click.option(
        "--max-tokens-per-document",
        type=_positive,
        help="Tokens of one document; the rest is cut. [default: the model's]",
    ),
    click.option(
        "--max-tokens-per-request",
        type=_positive,
        help="Tokens of one request. [default: the model's]",
    ),
    click.option(
        "--merge",
        type=click.Choice(["auto", "trust"]),
        default="auto",
        show_default=True,
        help="Test whether scores of several requests compare, or trust that they do.",
    ),
    click.option(
        "--certify-depth",
        type=_positive,
        help="Places that a final request settles. [default: top-n, else 100]",
    ),
    click.option(
        "--long-documents",
        type=click.Choice(["truncate", "max-passage"]),
        default="truncate",
        show_default=True,
        help="Cut documents over the token limit, or score their passages and take the best.",
    ),
    click.option(
        "--duplicates",
        type=click.Choice(["keep", "first"]),
        default="keep",
        show_default=True,
        help="What to do with a doc_id that a query holds twice.",
    ),
    click.option(
        "--layout",
        type=click.Choice(["auto", "long"]),
        default="auto",
        show_default=True,
        help="Layout of the input: long is one row per candidate.",
    ),
    click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="NAME=SOURCE",
        help="Read our column NAME from the input's column SOURCE; repeatable.",
    ),
    click.option("--with-text", is_flag=True, help="Write query and text to the output too."),
    click.option(
        "--groups-per-part",
        type=_positive,
        default=1_000,
        show_default=True,
        help="Queries in one output file.",
    ),
)


def settings_options(command: Command) -> Command:
    """Add the options that `make_settings` takes."""
    for option in reversed(_SETTINGS_OPTIONS):
        command = option(command)
    return config_option(command)
