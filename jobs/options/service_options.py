"""The options that choose the rerank service: provider, model, address, key and instruction."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pipeline.core.providers import PROVIDERS

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
)


def service_options(command: Command) -> Command:
    """Add the options that choose the service."""
    for option in reversed(_SERVICE_OPTIONS):
        command = option(command)
    return command
