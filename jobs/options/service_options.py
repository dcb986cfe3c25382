"""The options that choose the rerank service: provider, model, address, key, and its limits."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from jobs.options.help_page import option
from jobs.options.types import POSITIVE_COUNT, SECONDS
from pipeline.core.providers import PROVIDERS
from pipeline.core.settings import DEFAULT_TIMEOUT_S

Command = TypeVar("Command", bound=Callable[..., Any])

_SERVICE_OPTIONS = (
    option(
        "--provider",
        type=click.Choice(list(PROVIDERS)),
        metavar="NAME",
        default="dashscope",
        show_default=True,
        section="Service",
        help="Preset of wire format, address, key variable, model and quota: "
        f"{', '.join(PROVIDERS)}.",
    ),
    option(
        "--model",
        metavar="NAME",
        section="Service",
        example="qwen3-rerank",
        help="Model to use. [default: the provider's]",
    ),
    option(
        "--url",
        metavar="URL",
        section="Service",
        example="http://localhost:8000/v1/rerank",
        help="Full address of the endpoint. [default: the provider's]",
    ),
    option(
        "--api-key-env",
        metavar="VARIABLE",
        section="Service",
        example="DASHSCOPE_API_KEY",
        help="Environment variable that holds the key. [default: the provider's]",
    ),
    option(
        "--instruct",
        metavar="TEXT",
        section="Service",
        example="Given a web search query, retrieve relevant passages that answer the query.",
        help="Instruction for the model, in English.",
    ),
    option(
        "--timeout",
        type=SECONDS,
        metavar="SECONDS",
        default=DEFAULT_TIMEOUT_S,
        show_default=True,
        section="Failures",
        help="Seconds that one attempt at a request may take.",
    ),
)


LIMIT_OPTIONS = (
    option(
        "--max-documents",
        type=POSITIVE_COUNT,
        metavar="N",
        section="Advanced",
        example=500,
        help="Maximum number of documents per request. [default: the model's]",
    ),
    option(
        "--max-tokens-per-document",
        type=POSITIVE_COUNT,
        metavar="N",
        section="Advanced",
        example=4_000,
        help="Maximum tokens per document; longer ones are truncated. [default: the model's]",
    ),
    option(
        "--max-tokens-per-request",
        type=POSITIVE_COUNT,
        metavar="N",
        section="Advanced",
        example=120_000,
        help="Maximum tokens per request. [default: the model's]",
    ),
)
"""The options that set limits of the model: documents and tokens."""


def limit_options(command: Command) -> Command:
    """Add the options that set limits of the model."""
    for decorate in reversed(LIMIT_OPTIONS):
        command = decorate(command)
    return command


def service_options(command: Command) -> Command:
    """Add the options that choose the service."""
    for decorate in reversed(_SERVICE_OPTIONS):
        command = decorate(command)
    return command
