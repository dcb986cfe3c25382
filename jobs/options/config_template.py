"""The commented `rerank.toml` that `rerank init` writes, made from the options of `rerank run`."""

import json
import re
import textwrap
from collections.abc import Iterator
from typing import Final

import click

from jobs.options.config_file import CONFIG_NAME, options_by_name
from jobs.options.help_page import SECTIONS, Option, section_of

_WIDTH: Final = 100
_HEAD: Final = f"""\
# {CONFIG_NAME}: defaults for the options of `rerank`, read from the working folder.
#
# A line that begins with "#name = " is an option with its default, or with an example where it says
# so: remove the "#" to set it. The command line takes precedence over the environment
# (RERANK_RUN_MAX_COST=20), that over this file; --no-config leaves this file out.
#
# Keys here serve every command that has such an option. Those of one command alone go into a table
# at the end of the file, for example:
#
# [evaluate]
# measure = ["nDCG@10", "R@100"]
"""


def config_template(command: click.Command) -> str:
    """Return a TOML file that sets nothing, and shows every option of a command in a comment."""
    options = options_by_name(command).items()
    lines = [_HEAD]
    for section in SECTIONS:
        lines += [f"\n# ---- {section} ----"]
        for name, found in options:
            if section_of(found) == section and isinstance(found, Option):
                lines += ["", *_lines(name, found)]
    return "\n".join(lines) + "\n"


def _lines(name: str, found: Option) -> Iterator[str]:
    default = found.to_info_dict()["default"]
    text = found.help or ""
    if (
        isinstance(found.type, click.Choice) and len(found.type.choices) < 5
    ):  # else the help names them
        text += f" One of: {', '.join(map(str, found.type.choices))}."
    is_example = found.example is not None
    if is_example and not re.search(r"\[default: ", text):
        text += " [default: none]"
    text += " An example:" if is_example else ""
    yield from textwrap.wrap(
        text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )
    value = found.example if is_example else bool(default) if found.is_flag else default
    yield f"#{name} = {json.dumps(value, ensure_ascii=False)}"
