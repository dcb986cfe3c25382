"""`--config FILE.toml`, else `rerank.toml` of the working folder: defaults for options.

The command line takes precedence over the environment, that over the file, and that over the
defaults of the options. Keys are the names of options, and serve every command that has them; keys
in a table [COMMAND] serve that command alone, and take precedence.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from jobs.options.help_page import option
from pipeline.core.errors import SettingsError, shorten

Command = TypeVar("Command", bound=Callable[..., Any])

CONFIG_NAME: Final = "rerank.toml"
NOT_IN_FILES: Final = frozenset({"config", "no-config", "help"})
"""Options that say which file is read, or that end the command."""

_FILE = f"{__name__}.file"
_NONE = f"{__name__}.none"


def config_option(command: Command) -> Command:
    """Add `--config` and `--no-config`."""
    # An eager option that only a variable sets is read in this order, `--no-config` first.
    return _NO_CONFIG_OPTION(_CONFIG_OPTION(command))


def config_in_use(ctx: click.Context) -> str | None:
    """Return the file that this command's options may come from, as the user would name it."""
    name: str | None = ctx.meta.get(_FILE)
    return name


def _refuse_config(ctx: click.Context, _: click.Parameter, is_refused: bool) -> None:
    ctx.meta[_NONE] = is_refused
    if is_refused and config_in_use(ctx):
        raise SettingsError("excludes --config", which="--no-config", cure="leave one out")


def _read_config(ctx: click.Context, _: click.Parameter, file: str | None) -> None:
    """Read defaults from a TOML file into the context.

    Raises:
        SettingsError: if the file cannot be read, or has a key or value that no option takes.
    """
    if ctx.resilient_parsing:  # a shell asks for completions
        return
    if file is not None:
        which = f"--config {file}"
        if ctx.meta.get(_NONE):
            raise SettingsError("excludes --config", which="--no-config", cure="leave one out")
    elif ctx.meta.get(_NONE) or not os.path.lexists(CONFIG_NAME):  # a broken link is there
        return
    else:
        which = file = CONFIG_NAME
    ctx.meta[_FILE] = which
    options = options_by_name(ctx.command)
    values = dict(_values_for(ctx, _parse(file, which), which))
    ctx.default_map = {
        options[name].name or "": _as_typed(value, options[name], which)
        for name, value in values.items()
    }
    if values:
        ctx.meta[_FILE] = which


def _parse(file: str, which: str) -> dict[str, Any]:
    import tomllib  # only when needed, to keep start-up fast

    cure = "correct it, or leave it out with --no-config" if which == CONFIG_NAME else None
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        found = error.strerror
        raise SettingsError(f"cannot be read: {found}", which=which, cure=cure) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"not TOML: {error}", which=which, cure=cure) from error


def _values_for(
    ctx: click.Context, content: Mapping[str, Any], which: str
) -> Iterator[tuple[str, Any]]:
    """Yield option and value for each key that applies to this command, the more specific last.

    Raises:
        SettingsError: for a key that applies to no command, and for a table that names no command.
    """
    root = ctx.find_root().command
    commands = root.list_commands(ctx) if isinstance(root, click.Group) else [ctx.info_name or ""]
    tables = {name for name, value in content.items() if isinstance(value, dict)}
    if unknown := sorted(tables.difference(commands)):
        raise _unknown_key(which, unknown[0], "table", commands)
    own = options_by_name(ctx.command)
    _refuse_twins(content, which)
    for key, value in content.items():
        name = key.replace("_", "-")
        if key not in tables and name in own:
            yield name, value
        elif key not in tables and not _is_of_another(ctx, root, commands, name):
            raise _unknown_key(which, key, "option", [*own, *_options_of(ctx, root, "run")])
    table = content.get(ctx.info_name or "", {}) if ctx.info_name in tables else {}
    _refuse_twins(table, f"{which}: [{ctx.info_name}]")
    for key, value in table.items():
        name = key.replace("_", "-")
        if name not in own:
            raise _unknown_key(f"{which}: [{ctx.info_name}]", key, "option", list(own))
        yield name, value


def _refuse_twins(content: Mapping[str, Any], which: str) -> None:
    """Refuse a key that is there with dashes and with underscores: one of them would be ignored."""
    for key in content:
        twin = key.replace("-", "_")
        if twin != key and twin in content:
            raise SettingsError("are one option", which=which, found=f"{key} and {twin}")


def _unknown_key(which: str, key: str, kind: str, known: list[str]) -> SettingsError:
    if key.replace("_", "-") in NOT_IN_FILES:
        return SettingsError("cannot be set in a file", which=which, found=key)
    nearest = get_close_matches(key.replace("_", "-").lower(), known, n=1)
    cure = f"did you mean {nearest[0]}?" if nearest else None
    if cure is None:
        cure = f"the commands are {', '.join(known)}" if kind == "table" else "see --help"
    return SettingsError(f"no {kind} has this name", which=which, found=key, cure=cure)


def _is_of_another(ctx: click.Context, root: click.Command, commands: list[str], name: str) -> bool:
    """Return whether another command has an option of this name; `run` is asked first."""
    others = sorted(commands, key=lambda command: command != "run")
    return any(name in _options_of(ctx, root, command) for command in others)


def _options_of(ctx: click.Context, root: click.Command, command: str) -> dict[str, click.Option]:
    found = root.get_command(ctx, command) if isinstance(root, click.Group) else None
    return options_by_name(found) if found is not None else {}


def options_by_name(command: click.Command) -> dict[str, click.Option]:
    """Return a command's options that a file may set, by long name without dashes."""
    named = {
        max(parameter.opts, key=len).lstrip("-"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
    }
    return {name: found for name, found in named.items() if name not in NOT_IN_FILES}


def _as_typed(value: object, option: click.Option, which: str) -> str | list[str]:
    """Return a TOML value as it would be typed, so that all sources share the same checks."""
    values = value if isinstance(value, list) else [value]
    is_many = isinstance(value, list)
    if is_many is not option.multiple or not all(isinstance(v, str | int | float) for v in values):
        raise SettingsError(
            "cannot be used",
            which=f"{which}: {max(option.opts, key=len)[2:]}",
            found=shorten(repr(value), 60),
            expected="a list of strings" if option.multiple else "a string, number or boolean",
        )
    typed = [str(v).lower() if isinstance(v, bool) else str(v) for v in values]
    return typed if is_many else typed[0]


_NO_CONFIG_OPTION = option(
    "--no-config",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_refuse_config,
    section="Advanced",
    help=f"Do not read {CONFIG_NAME} of the working folder.",
)
_CONFIG_OPTION = option(
    "--config",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    section="Advanced",
    help=f"TOML file with defaults for these options. [default: {CONFIG_NAME}, if it is there]",
)
