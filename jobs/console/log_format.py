"""The format of everything on stderr: text for people, or JSON lines for machines.

A command can fail before its options are parsed and after it has returned, and even then its
failure must have the chosen format. So the format is guessed from the arguments first, set when
the option is parsed, and kept for the whole process.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import click

from jobs.options.help_page import option

LogFormat = Literal["text", "json"]

_OPTION = "--log-format"
_current: LogFormat = "text"


def current_format() -> LogFormat:
    """Return the format chosen last."""
    return _current


def choose_format(log_format: str | None) -> None:
    """Use this format from now on; any value but `json` means text."""
    global _current  # one process, one stderr
    _current = "json" if log_format == "json" else "text"


def guess_format(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Choose the format for failures that happen before the options are parsed.

    Args:
        arguments: Of the command line, as typed.
        environment: May hold the variable of the command's option.
    """
    command = arguments[0].upper() if arguments else ""
    last = environment.get(f"RERANK_{command}_LOG_FORMAT")
    for at, argument in enumerate(arguments):
        if argument == _OPTION and at + 1 < len(arguments):
            last = arguments[at + 1]
        elif argument.startswith(f"{_OPTION}="):
            last = argument.partition("=")[2]
    choose_format(last)


def _chosen(_: click.Context, __: click.Parameter, value: LogFormat) -> LogFormat:
    choose_format(value)
    return value


log_format_option = option(
    _OPTION,
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    is_eager=True,
    callback=_chosen,
    section="Display",
    help="Format of logs and failures on stderr.",
)
