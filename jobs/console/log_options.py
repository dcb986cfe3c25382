"""The options of the log, and the log set up by them."""

import logging
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TypeVar

from msgspec import Struct

from jobs.console import logs
from jobs.console.log_format import LogFormat, log_format_option
from jobs.options.help_page import option
from pipeline.core.errors import SettingsError

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS: Final = (
    option(
        "-q",
        "--quiet",
        is_flag=True,
        section="Display",
        help="Show only warnings and failures: no progress, no report.",
    ),
    option(
        "-v",
        "--verbose",
        is_flag=True,
        section="Display",
        help="Also log every answer and every retry.",
    ),
    option(
        "--log-file",
        metavar="FILE",
        section="Display",
        example="rerank.log.jsonl",
        help="Also append the log to FILE, progress included, as JSON lines if it ends in .jsonl.",
    ),
    log_format_option,
)


class LogOptions(Struct, frozen=True):
    """Where and in what format to log.

    Attributes:
        log_format: Format of the lines on stderr.
        quiet: Only warnings and failures are shown.
    """

    log_format: LogFormat
    quiet: bool


def log_options(command: Command) -> Command:
    """Add the options that `set_up_log` reads."""
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


def set_up_log(options: MutableMapping[str, Any]) -> LogOptions:
    """Take the options of the log out of a command's options, and set up the log by them.

    Raises:
        SettingsError: if they contradict each other, or the file cannot be written.
    """
    quiet, verbose = options.pop("quiet"), options.pop("verbose")
    log_format, file = options.pop("log_format"), options.pop("log_file")
    if quiet and verbose:
        raise SettingsError("excludes --verbose", which="--quiet", cure="leave one out")
    shown = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    logs.configure(log_format, shown)
    if file is not None:
        logs.add_file(file, logging.DEBUG if verbose else logging.INFO)
    return LogOptions(log_format, quiet)
