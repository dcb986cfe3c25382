"""The options of commands that start a server: where it listens."""

from collections.abc import Callable
from typing import Any

import click

from jobs.options.types import Count


def listen_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--host` and `--port` to a command."""
    host = click.option(
        "--host", default="127.0.0.1", show_default=True, help="Address to listen on."
    )
    port = click.option(
        "--port",
        type=Count("0 to 65535", min=0, max=65_535),
        default=0,
        show_default=True,
        help="Port to listen on; 0 picks a free one. The address is the first line on stdout.",
    )
    return host(port(command))
