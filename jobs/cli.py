"""The command `rerank`: runs a subcommand; every failure becomes one line and an exit code.

A subcommand is imported only when it is called, so that `rerank --help` stays fast.
"""

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from jobs.console.failures import report_failure
from jobs.console.log_format import guess_format
from jobs.options.config_file import config_in_use
from jobs.options.help_page import HelpPage, write_list
from jobs.options.types import OneOf, Place, Utf8Text, YesNo
from jobs.process.allocator import set_library_defaults
from jobs.process.descriptors import open_missing_descriptors
from jobs.process.parent import stop_with_parent
from jobs.process.signals import Signalled, raised_interrupts
from pipeline.core.errors import RerankError, SettingsError, shorten

COMMANDS = {
    "run": ("jobs.commands.run", "Rerank the candidates of INPUT into OUTPUT."),
    "plan": ("jobs.commands.plan", "Estimate what a run would do and cost; sends nothing."),
    "prepare": ("jobs.commands.prepare", "Make candidates of any form into one Parquet file."),
    "backfill": ("jobs.commands.backfill", "Rerank every partition of INPUT_ROOT in a range."),
    "status": ("jobs.commands.status", "Show how far the run on OUTPUT is, or how it ended."),
    "evaluate": ("jobs.commands.evaluate", "Measure OUTPUT against judgements, before and after."),
    "compare": ("jobs.commands.compare", "Compare OUTPUT with another output of its queries."),
    "explain": ("jobs.commands.explain", "Explain the ranking of one query of OUTPUT."),
    "report": ("jobs.commands.report", "Write one page with charts about OUTPUT."),
    "export": ("jobs.commands.export", "Write OUTPUT as one file of another form."),
    "load": ("jobs.commands.load", "Load OUTPUT into a database or a search engine."),
    "store": ("jobs.commands.store", "Inspect or shrink a score store."),
    "doctor": ("jobs.doctor.command", "Check key, endpoint, limits and score comparability."),
    "providers": ("jobs.commands.providers", "List the presets of rerank services."),
    "init": ("jobs.commands.init", "Write a commented rerank.toml."),
    "commit": ("jobs.commands.commit", "Finish an OUTPUT that was written in shards."),
    "quota": ("jobs.commands.quota", "Lease one account's quota to several runs."),
    "emulate": ("jobs.emulator.command", "Start the offline rerank service."),
}
"""Each subcommand's module, which defines the function of the same name, and its line of help."""


class LazyCommands(HelpPage, click.Group):
    """A group that imports a command only when it is called."""

    examples = (
        "rerank run candidates.parquet reranked/ --provider emulator",
        "rerank status reranked/",
        "rerank run --help",
    )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command of that name, or None if there is none."""
        if cmd_name not in COMMANDS:
            if not ctx.resilient_parsing:
                raise click.exceptions.NoSuchCommand(cmd_name, possibilities=COMMANDS, ctx=ctx)
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name)
        _name_variables(command, f"RERANK_{cmd_name}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            write_list(formatter, [(name, line) for name, (_, line) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin with a text, without importing any."""
        commands = [
            CompletionItem(name, help=line)
            for name, (_, line) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rerank-pipeline", prog_name="rerank")
def cli() -> None:
    """Rerank candidates from Parquet with a rerank service, within its limits.

    Every option can also come from RERANK_<COMMAND>_<OPTION>, and from rerank.toml of the working
    folder or --config FILE.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise SettingsError(
            "the working folder does not exist any more", cure="change to one that does"
        ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 done, 1 unexpected, 2 usage or settings, 3 input, 4 the service gives no more answers, 5 the
    output belongs to other settings or input, 6 another run holds the output, 7 too many rejects,
    10 a gate failed, 130 and 143 interrupted; of `status --exit-code` also 20 to 23.
    """
    open_missing_descriptors()
    set_library_defaults()
    guess_format(sys.argv[1:] if arguments is None else arguments, os.environ)
    try:
        with raised_interrupts():
            stop_with_parent(os.environ)
            code = cli.main(arguments, prog_name="rerank", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else _named_command(arguments)
        message = shorten(_refusal(error).rstrip("."), 600) + _origin(error)
        report_failure(message, code=2, kind="UsageError", cure=f"see {command} --help")
        return 2
    except click.ClickException as error:
        report_failure(error.format_message(), code=2, kind="UsageError")
        return 2
    except click.Abort:
        return 128 + signal.SIGINT
    except (RerankError, Signalled) as raised:  # a signal: just before the block, or behind it
        failure = raised.interrupted if isinstance(raised, Signalled) else raised
        report_failure(str(failure), code=failure.exit_code, kind=type(failure).__name__)
        return failure.exit_code
    except BaseException as error:  # the last resort: no failure ends in a traceback
        kind = type(error).__name__
        if not isinstance(error, Exception) and kind != "PanicException":  # of Polars and alike
            raise
        message = shorten(f"unexpected {kind}: {error}")
        report_failure(message, code=1, kind=kind, error=error)
        return 1
    return code if isinstance(code, int) else 0


_PLACES = frozenset({"FILE", "PLACE", "INPUT", "OUTPUT"})


def _name_variables(command: click.Command, prefix: str) -> None:
    """Give each option its environment variable, by its name: RERANK_RUN_TOP_N; check its text."""
    if isinstance(command, click.Group):
        for name, subcommand in command.commands.items():
            _name_variables(subcommand, f"{prefix}_{name}")
    for parameter in command.params:
        if isinstance(parameter, click.Argument) and parameter.type is click.STRING:
            parameter.type = Place()
        if isinstance(parameter, click.Option) and parameter.name != "help":
            name = max(parameter.opts, key=len).lstrip("-")
            parameter.envvar = f"{prefix}_{name}".upper().replace("-", "_")
            if parameter.type is click.STRING:
                parameter.type = Place() if parameter.metavar in _PLACES else Utf8Text()
            if type(parameter.type) is type(click.BOOL):
                parameter.type = YesNo()
            if type(parameter.type) is click.Choice:
                parameter.type = OneOf(parameter.type.choices)


def _named_command(arguments: Sequence[str] | None) -> str:
    """Return the command that the arguments begin with, for an error that does not name it."""
    given = sys.argv[1:] if arguments is None else arguments
    return " ".join(["rerank", *(name for name in given[:1] if name in COMMANDS)])


def _refusal(error: click.UsageError) -> str:
    """Return the error of a command line in the form of all our failures."""
    if isinstance(error, click.MissingParameter) or not isinstance(error, click.BadParameter):
        return error.format_message()
    which = error.param.opts[-1] if error.param else error.param_hint
    if isinstance(error.param, click.Argument):
        which = error.param.make_metavar(error.ctx) if error.ctx else error.param.name
    return f"{which}: {error.message.removeprefix(f'{which}: ')}"


def _origin(error: click.UsageError) -> str:
    """Return where a refused value comes from, unless it was typed on the command line."""
    if not isinstance(error, click.BadParameter) or not (error.ctx and error.param):
        return ""
    name = error.param.name or ""
    match error.ctx.get_parameter_source(name):
        case ParameterSource.ENVIRONMENT:
            return f" (from the environment: {error.param.envvar})"
        case ParameterSource.DEFAULT_MAP:
            return f" (from {config_in_use(error.ctx) or '--config'})"
    return ""
