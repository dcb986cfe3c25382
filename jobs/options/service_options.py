"""The options that choose the rerank service: provider, model, address, key, and its limits."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from jobs.options.types import POSITIVE_NUMBER
from pipeline.core.providers import PROVIDERS
from pipeline.core.settings import DEFAULT_TIMEOUT_S

Command = TypeVar("Command", bound=Callable[..., Any])

_SERVICE_OPTIONS = (
    click.option(
        "--provider",
        type=click.Choice(list(PROVIDERS)),
        default="dashscope",
        show_default=True,
        help="Preset of wire format, address, key variable, default model and quota.",
    ),
    click.option("--model", help="Model to use. [default: the provider's]"),
    click.option("--url", help="Full address of the endpoint. [default: the provider's]"),
    click.option(
        "--api-key-env",
        help="Environment variable that holds the key. [default: the provider's]",
    ),
    click.option("--instruct", help="Instruction for the model, in English."),
    click.option(
        "--timeout",
        type=POSITIVE_NUMBER,
        default=DEFAULT_TIMEOUT_S,
        show_default=True,
        help="Seconds that one attempt at a request may take.",
    ),
)


LIMIT_OPTIONS = (
    click.option(
        "--max-documents",
        type=click.IntRange(min=1),
        help="Maximum number of documents per request. [default: the model's]",
    ),
    click.option(
        "--max-tokens-per-document",
        type=click.IntRange(min=1),
        help="Maximum tokens per document; longer ones are truncated. [default: the model's]",
    ),
    click.option(
        "--max-tokens-per-request",
        type=click.IntRange(min=1),
        help="Maximum tokens per request. [default: the model's]",
    ),
)
"""The options that set limits of the model: documents and tokens."""


def limit_options(command: Command) -> Command:
    """Add the options that set limits of the model."""
    for option in reversed(LIMIT_OPTIONS):
        command = option(command)
    return command


def service_options(command: Command) -> Command:
    """Add the options that choose the service."""
    for option in reversed(_SERVICE_OPTIONS):
        command = option(command)
    return command
