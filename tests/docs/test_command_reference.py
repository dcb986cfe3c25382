"""jobs/README.md is true to the code: commands, options, columns, reasons, exit codes, events."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pyarrow.parquet as pq
import pytest
from support.markdown import code_spans, read_page, rows, section
from support.real_runs import ROOT, SAMPLE, rerank_here

from jobs.cli import COMMANDS, cli
from jobs.options.command import Command
from jobs.options.help_page import Option
from pipeline.core.errors import Interrupted, RequestError, RerankError
from pipeline.core.models import PROFILES, UNLIMITED_TOKENS
from pipeline.core.providers import PROVIDERS
from pipeline.core.records import MergeStatus, Reason

PAGE = read_page("jobs/README.md")

Options = dict[str, str]
"""The long names of options, with the default as the documentation shows it."""


def leaf_commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    leaves: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            leaves |= {f"{name} {sub}": leaf for sub, leaf in command.commands.items()}
        else:
            leaves[name] = command
    return leaves


LEAVES = leaf_commands()


def visible_options(command: click.Command) -> list[click.Option]:
    return [
        parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
    ]


def default_of(option: click.Option) -> str:
    """Return the default in words: what the help tells, else that of the option itself."""
    if option.required:
        return "required"
    if told := re.search(r"\[default: (.*)\]", option.help or ""):
        return told[1]
    default = option.to_info_dict()["default"]
    if option.is_flag:
        return "off"
    if isinstance(default, tuple | list):
        return ", ".join(map(str, default)) or "none"
    if default is None:
        return "none"
    return f"{default:g}" if isinstance(default, float) else str(default)


def options_of_code(name: str) -> Options:
    return {
        spelling: default_of(option)
        for option in visible_options(LEAVES[name])
        for spelling in (*option.opts, *option.secondary_opts)
        if spelling.startswith("--")
    }


def options_of_page(name: str) -> Options:
    """Return the options of a command's section: of its tables, and those it shares with `run`."""
    text = section(PAGE, f"rerank {name}")
    shown = {
        spelling: cells[1].strip("`")
        for cells in rows(text, "option", "default")
        for spelling in code_spans(cells[0])
    }
    for shared in re.findall(r"^As `run`(?:, except)?: .*?\.$", text, re.MULTILINE | re.DOTALL):
        of_run, named = options_of_page("run"), code_spans(shared.partition(":")[2])
        if shared.startswith("As `run`, except"):
            assert set(named) <= of_run.keys()
            named = [spelling for spelling in of_run if spelling not in named]
        shown |= {spelling: of_run[spelling] for spelling in named}
    return shown


@pytest.mark.parametrize("name", LEAVES)
def test_a_command_is_documented_with_all_its_options_and_their_defaults(name: str) -> None:
    assert options_of_page(name) == options_of_code(name)


@pytest.mark.parametrize("name", LEAVES)
def test_every_value_that_an_option_may_have_is_documented(name: str) -> None:
    values = {
        value
        for option in visible_options(LEAVES[name])
        if isinstance(option.type, click.Choice)
        for value in option.type.choices
    }

    assert values <= set(code_spans(PAGE))


@pytest.mark.parametrize("name", LEAVES)
def test_a_command_is_listed_and_has_an_example(name: str) -> None:
    assert f"[`rerank {name}" in PAGE
    assert f"\nrerank {name}" in section(PAGE, f"rerank {name}")


@pytest.mark.parametrize("name", LEAVES)
def test_the_examples_in_the_help_of_a_command_are_those_of_the_page(name: str) -> None:
    command = LEAVES[name]

    assert isinstance(command, Command)
    assert command.examples
    for example in command.examples:
        assert f"\n{example}\n" in section(PAGE, f"rerank {name}")


def examples() -> list[str]:
    return [
        e for command in LEAVES.values() if isinstance(command, Command) for e in command.examples
    ]


@pytest.mark.parametrize("example", examples())
def test_an_example_is_understood(example: str) -> None:
    command, words = click.Context(cli).command, shlex.split(example)[1:]
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None
        command = found

    assert command.make_context(example, words).params


def test_every_option_of_run_has_its_section_and_a_value_to_show() -> None:
    for found in visible_options(LEAVES["run"]):
        assert isinstance(found, Option), found.name
        if found.name not in ("config", "no_config"):
            default = found.to_info_dict()["default"]
            assert (default is None or default == ()) == (found.example is not None), found.name


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_has_help(name: str) -> None:
    command = LEAVES[name]

    assert command.help
    assert [option.name for option in visible_options(command) if not option.help] == []


def test_no_section_documents_a_command_that_does_not_exist() -> None:
    assert re.findall(r"^## rerank (.+)$", PAGE, re.MULTILINE) == list(LEAVES)


def error_classes(base: type[RerankError] = RerankError) -> Iterator[type[RerankError]]:
    """Yield the errors that end a command, without those that only group others."""
    for error in base.__subclasses__():
        if error is RequestError or not error.__module__.startswith("pipeline."):
            continue
        below = list(error_classes(error))
        yield from below or [error]


def test_every_exit_code_is_documented_with_its_error() -> None:
    codes = {(error.__name__, str(error.exit_code)) for error in error_classes()}
    codes = {(name, code) for name, code in codes if name != Interrupted.__name__}
    codes |= {("", "0"), (Interrupted.__name__, "130"), (Interrupted.__name__, "143")}

    shown = {(cells[1].strip("`"), cells[0]) for cells in rows(section(PAGE, "Exit codes"), "code")}

    assert shown == codes


def test_every_merge_status_is_documented() -> None:
    shown = {name for cells in rows(PAGE, "`merge_status`") for name in code_spans(cells[0])}

    assert shown == set(get_args(MergeStatus))


def test_every_reason_is_documented() -> None:
    shown = {name for cells in rows(PAGE, "`reason`") for name in code_spans(cells[0])}

    assert shown == set(get_args(Reason))


@pytest.fixture(scope="module")
def sample_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("docs") / "out"
    command = ("run", SAMPLE / "candidates.parquet", output, "--provider", "emulator")
    ended = rerank_here(*command, "--with-text", "--json", "--no-progress")
    assert ended.code == 0, ended.err
    (output / "summary.json").write_text(ended.out)
    return output


@pytest.mark.parametrize(
    ("heading", "folder"),
    [("Columns of _groups", "_groups"), ("Columns of _rejects", "_rejects")],
)
def test_the_columns_of_a_file_are_documented_in_order(
    heading: str, folder: str, sample_run: Path
) -> None:
    schema = pq.read_schema(sample_run / folder / "part-00000.parquet")

    shown = [
        (name, cells[1])
        for cells in rows(section(PAGE, heading), "column")
        for name in code_spans(cells[0])
    ]

    assert [name for name, _ in shown] == schema.names
    assert [kind for _, kind in shown] == [
        "as in the input" if field.name in ("query_id", "doc_id") else str(field.type)
        for field in schema
    ]


def test_the_columns_of_a_part_are_documented_in_order(sample_run: Path) -> None:
    schema = pq.read_schema(sample_run / "part-00000.parquet")
    passed_through = ["first_stage_score", "language", "topic"]

    shown = []
    for cells in rows(section(PAGE, "Columns of a part"), "column"):
        is_passed = cells[0] == "passed-through columns"
        shown += passed_through if is_passed else code_spans(cells[0])

    assert shown == schema.names


def test_the_files_of_an_output_are_documented(sample_run: Path) -> None:
    tree = section(PAGE, "Output").partition("```\n")[2].partition("```")[0]
    shown = {line.split()[0].partition("/")[0] for line in tree.splitlines()[1:]}

    assert shown == {path.name for path in sample_run.iterdir()} - {"summary.json"}


def test_the_fields_of_the_summary_are_documented(sample_run: Path) -> None:
    fields = json.loads((sample_run / "summary.json").read_text())
    (paragraph,) = re.findall(
        r"^`run --json` prints one object.*?\.$", PAGE, re.MULTILINE | re.DOTALL
    )

    (record,) = (sample_run / "_runs").glob("*.json")

    shown = set(code_spans(paragraph)) - {"run --json", "_runs/"}
    assert shown == set(fields)
    assert shown <= set(json.loads(record.read_text()))


def logged_events() -> set[tuple[str, str]]:
    """Return name and level of every event in the code."""
    events = set()
    for folder in ("pipeline", "jobs"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(
                        func=ast.Name("log_event"),
                        args=[_, ast.Attribute(attr=level), ast.Constant(str(name))],
                    ):
                        events.add((name, level.lower()))
    return events


def test_every_log_event_is_documented_with_its_level() -> None:
    shown = {(cells[0].strip("`"), cells[1]) for cells in rows(section(PAGE, "Logs"), "event")}

    assert shown == logged_events()


def test_every_provider_is_documented_with_its_key_and_model() -> None:
    shown = {
        cells[0].strip("`"): (cells[2].strip("`"), cells[3].strip("`"))
        for cells in rows(PAGE, "provider")
    }

    assert shown == {
        name: (provider.api_key_env or "none", provider.default_model or "give `--model")
        for name, provider in PROVIDERS.items()
    }


def test_every_model_is_documented_with_its_limits_price_and_quota() -> None:
    shown = {cells[0].strip("`"): cells[1:] for cells in rows(PAGE, "model")}

    assert shown == {
        name: [
            "none" if figure in (None, 0, UNLIMITED_TOKENS) else f"{figure:,}"
            for figure in (
                profile.max_documents,
                profile.max_tokens_per_document,
                profile.max_tokens_per_request,
                profile.usd_per_million_tokens,
                profile.requests_per_minute,
                profile.tokens_per_minute,
            )
        ]
        for name, profile in PROFILES.items()
    }
