"""A command: its examples, the sections of its options, and the note about its config file."""

from collections.abc import Iterator
from typing import Any

import click
from click.core import ParameterSource

from jobs.console.notes import report_note
from jobs.options.config_file import CONFIG_NAME, config_in_use
from jobs.options.help_page import LONGEST_NAME, NARROW, SECTIONS, HelpPage, section_of, write_list


class Command(HelpPage):
    """A command with examples, and with sections of options if it has many.

    Args:
        examples: Command lines.
        in_sections: Whether options are shown in sections.
    """

    def __init__(
        self,
        *args: Any,
        examples: tuple[str, ...] = (),
        in_sections: bool = False,
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        self.examples = examples
        self.in_sections = in_sections

    def invoke(self, ctx: click.Context) -> Any:
        """Say which options come from a file that the user did not name, and run the command."""
        if config_in_use(ctx) == CONFIG_NAME and not ctx.params.get("quiet"):
            names = [max(p.opts, key=len)[2:] for p in self.params if _is_from_file(ctx, p)]
            text = f"{CONFIG_NAME} sets {', '.join(names)} (--no-config leaves it out)"
            if names:
                report_note(text, event="config.read", file=CONFIG_NAME, options=names)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options; those of no section come first."""
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        shown = [(o, record) for o in options if (record := o.get_help_record(ctx))]
        width = min(max(len(name) for _, (name, _) in shown), LONGEST_NAME)
        if formatter.width < NARROW:
            width = 0
        for title, section in self._titles():
            records = [
                (f"{name:{width}}", text)
                for found, (name, text) in shown
                if section in (None, section_of(found))
            ]
            if records:
                with formatter.section(title):
                    write_list(formatter, records)

    def _titles(self) -> Iterator[tuple[str, str | None]]:
        """Yield title and section; None stands for all options."""
        if not self.in_sections:
            yield "Options", None
            return
        yield "Options", ""
        yield from ((section, section) for section in SECTIONS)


def _is_from_file(ctx: click.Context, parameter: click.Parameter) -> bool:
    name = parameter.name or ""
    return ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP
