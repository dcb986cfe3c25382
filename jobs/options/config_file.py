"""`--config FILE.toml`: defaults for a command's options, below command line and environment."""

from pathlib import Path

import click

from pipeline.core.errors import SettingsError, shorten


def read_config(ctx: click.Context, _: click.Parameter, file: str | None) -> None:
    """Read defaults from a TOML file into the context.

    Keys are option names; keys in a table [COMMAND] take precedence. One file can serve all
    commands: a command ignores keys that only `run` has.

    Raises:
        SettingsError: if the file cannot be read, or has a key or value that no option takes.
    """
    if file is None:
        return
    import tomllib  # only when needed, to keep start-up fast

    which = f"--config {file}"
    try:
        content = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", which=which) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"not TOML: {error}", which=which) from error
    tables = {name for name, value in content.items() if isinstance(value, dict)}
    own = content.get(ctx.info_name or "", {}) if ctx.info_name in tables else {}
    root = ctx.find_root().command
    commands = root.list_commands(ctx) if isinstance(root, click.Group) else [ctx.info_name]
    values = {name: value for name, value in content.items() if name not in tables}
    options = _options(ctx.command)
    if isinstance(root, click.Group) and (job := root.get_command(ctx, "run")) is not None:
        for_run = _options(job).keys() - options.keys()
        values = {k: v for k, v in values.items() if k.replace("_", "-") not in for_run}
    values |= own
    names = {name.replace("_", "-"): name for name in values}
    if unknown := [*(names.keys() - options.keys()), *(tables.difference(commands))]:
        raise SettingsError("unknown options", which=which, found=", ".join(sorted(unknown)))
    ctx.default_map = {
        options[name].name or "": _as_typed(values[key], options[name], which)
        for name, key in names.items()
    }


def _options(command: click.Command) -> dict[str, click.Option]:
    """Return a command's options by long name without dashes, except `--config`."""
    return {
        max(parameter.opts, key=len).lstrip("-"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name != "config"
    }


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


config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=read_config,
    help="TOML file with defaults for these options.",
)
