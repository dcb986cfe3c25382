"""The help of commands: examples first, then options in sections, up to 120 columns wide.

Plain Click shows one list of options, at most 80 columns wide. rich-click imports rich, which takes
longer than the whole of `rerank --help` may; cloup wants its own classes for every option and
argument, and also knows neither examples nor what an unset option is for.
"""

import inspect
import shutil
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar, get_args

import click

Section = Literal[
    "Service",
    "Input",
    "Output",
    "Cost and reuse",
    "Pace",
    "Failures",
    "Continue",
    "Display",
    "Advanced",
]
SECTIONS: Final[tuple[Section, ...]] = get_args(Section)
"""The sections of `rerank run --help`, in order."""

MAX_WIDTH: Final = 120
NARROW: Final = 60
"""On a terminal of fewer columns the help of an option begins on a line of its own."""
LONGEST_NAME: Final = 30
"""On any terminal, the help of an option with a longer name begins on a line of its own."""

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Option(click.Option):
    """An option that knows its section, and a value that shows how it is used.

    Attributes:
        section: Where the help and `rerank init` show it.
        example: For `rerank init`, where the default is that nothing is set.
    """

    def __init__(
        self,
        *args: Any,
        section: Section = "Advanced",
        example: str | int | list[str] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        self.section = section
        self.example = example

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return what follows the help text, without its range: a refused value names it."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        if "default" in extra:
            extra["default"] = extra["default"].removesuffix(".0")
        return extra


def option(*names: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Return a decorator that adds an `Option`, as `click.option` does."""
    return click.option(*names, cls=Option, **attributes)


class HelpPage(click.Command):
    """The common parts of the help of a command and of the list of commands."""

    examples: tuple[str, ...] = ()

    def get_help(self, ctx: click.Context) -> str:
        """Return the help, as wide as the terminal, at most 120 columns."""
        width = min(shutil.get_terminal_size().columns, MAX_WIDTH) - 2
        formatter = click.HelpFormatter(width=max(width, 20))
        self.format_help(ctx, formatter)
        return formatter.getvalue().rstrip("\n")

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command does in a sentence, examples, and then the rest."""
        first, _, rest = inspect.cleandoc(self.help or "").partition("\n\n")
        _write_text(formatter, first)
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")
        if rest:
            _write_text(formatter, rest)


def section_of(parameter: click.Parameter) -> str:
    """Return the section of a parameter; "" if it has none."""
    if isinstance(parameter, Option):
        return parameter.section
    return "Display" if "--help" in parameter.opts else ""


def write_list(formatter: click.HelpFormatter, records: list[tuple[str, str]]) -> None:
    """Write names and what they mean, in two columns where there is room."""
    # Click sets its own defaults off by two spaces, those in our texts stand after one.
    records = [(name, text.replace("  [default", " [default")) for name, text in records]
    formatter.write_dl(records, col_max=LONGEST_NAME if formatter.width >= NARROW else 8)


def _write_text(formatter: click.HelpFormatter, text: str) -> None:
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(text)
