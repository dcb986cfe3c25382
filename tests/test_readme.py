"""The README is true and complete: its commands run, and every command and option is there."""

import re
import shlex
from pathlib import Path

import click
import pytest
from support.real_runs import ROOT, rerank

from jobs.cli import COMMANDS, cli

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
UNIVERSAL = {"--help", "--version"}


def leaf_commands() -> list[tuple[str, click.Command]]:
    context = click.Context(cli)
    leaves = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            leaves += [(f"{name} {sub}", leaf) for sub, leaf in command.commands.items()]
        else:
            leaves.append((name, command))
    return leaves


@pytest.mark.parametrize(("name", "command"), leaf_commands())
def test_every_command_and_option_is_documented(name: str, command: click.Command) -> None:
    options = {
        option
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    }

    assert f"`rerank {name}" in README
    assert {o for o in options - UNIVERSAL if f"`{o}" not in README} == set()


@pytest.mark.parametrize(("name", "command"), leaf_commands())
def test_every_option_has_help(name: str, command: click.Command) -> None:
    silent = [
        parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
    ]

    assert command.help, name
    assert silent == []


def sample_commands() -> list[str]:
    """Return the commands on sample_data in the README and in `make run`."""
    recipe = [line.strip().removeprefix("$(BIN)/") for line in MAKEFILE.splitlines()]
    return [
        line
        for line in (*README.splitlines(), *recipe)
        if line.startswith("rerank ") and "sample_data" in line
    ]


def test_the_commands_on_the_sample_run_as_they_stand(tmp_path: Path) -> None:
    commands = sample_commands()
    assert len(commands) >= 3

    for command in commands:
        words = shlex.split(command.replace("out/", f"{tmp_path}/"))[1:]
        ended = rerank(*words)

        assert ended.code == 0, command


def test_every_room_is_on_the_map() -> None:
    map_of_house = README.split("## The house")[1].split("## Decisions")[0]
    modules = [
        path.name + "/" * path.is_dir()
        for path in (ROOT / "pipeline").iterdir()
        if path.name[0] not in "_." and (path.is_dir() or path.suffix == ".py")
    ]

    assert [name for name in modules if not re.search(rf"\b{re.escape(name)}", map_of_house)] == []
