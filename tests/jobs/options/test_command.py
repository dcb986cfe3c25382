"""The help of commands: examples, sections and width; and the completion of shells."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support.real_runs import ROOT, environment, rerank_here

from jobs.options.command import Command
from jobs.options.help_page import SECTIONS, option


def help_of(*command: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    ended = rerank_here(*command, "--help")
    assert ended.code == 0
    return ended.out


def test_the_help_of_run_has_its_examples_before_its_options_in_sections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = help_of("run", columns=120, monkeypatch=monkeypatch).splitlines()

    titles = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Examples", *SECTIONS]
    assert sum(line.startswith("  rerank run ") for line in lines) == 3


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
@pytest.mark.parametrize("command", [(), ("run",), ("store", "prune")], ids=" ".join)
def test_the_help_is_as_wide_as_the_terminal_up_to_120_columns(
    command: tuple[str, ...], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = help_of(*command, columns=columns, monkeypatch=monkeypatch)

    unbroken = ("  rerank ", "  -")  # examples, and names of options
    lines = [line for line in shown.splitlines() if not line.startswith(unbroken) or columns > 80]
    widest = max(map(len, lines))
    assert widest <= min(columns, 120)
    if command == ("run",):
        assert widest > min(columns, 120) - 15


def test_the_help_texts_of_all_sections_are_in_one_column(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = help_of("run", columns=120, monkeypatch=monkeypatch).splitlines()
    texts = ("Model to use", "Quota of requests", "Keep this many", "Print one JSON", "Maximum tok")

    assert len({line.index(text) for line in lines for text in texts if text in line}) == 1


def test_every_default_stands_one_space_after_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = help_of("run", columns=120, monkeypatch=monkeypatch)

    assert re.findall(r"\S  \[default", shown) == []
    assert "Quota of requests. [default: the model's]" in shown
    assert "Maximum number of requests in flight. [default: 128]" in shown


def test_an_option_of_no_section_is_shown_first() -> None:
    @click.command(cls=Command, in_sections=True)
    @click.option("--own", help="Own.")
    @option("--shared", section="Pace", help="Shared.")
    def command() -> None:
        """Do nothing."""

    text = command.get_help(click.Context(command))

    assert text.index("Options:") < text.index("--own") < text.index("Pace:")
    assert text.index("Pace:") < text.index("--shared") < text.index("Display:")


def completions(line: str, cwd: Path = ROOT) -> list[str]:
    """Return what bash would be told for the last word of a line."""
    words = line.split(" ")
    variables = {
        "_RERANK_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "import sys; sys.argv[0] = 'rerank'; from jobs.cli import main; sys.exit(main())"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=environment(**variables, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stderr == ""
    return shown.stdout.split()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("rerank pl", ["plain,plan"]),
        ("rerank store pr", ["plain,prune"]),
        ("rerank run --max-c", ["plain,--max-cost"]),
        ("rerank run --missing e", ["plain,error"]),
        ("rerank run in", ["file,in"]),
        ("rerank evaluate out --qrels q", ["file,q"]),
    ],
)
def test_a_shell_completes_commands_options_values_and_paths(line: str, found: list[str]) -> None:
    assert completions(line) == found


def test_a_rerank_toml_that_cannot_be_read_does_not_disturb_completions(tmp_path: Path) -> None:
    (tmp_path / "rerank.toml").write_text("not TOML")

    assert completions("rerank run --max-c", cwd=tmp_path) == ["plain,--max-cost"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    code = "import sys; sys.argv[0] = 'rerank'; from jobs.cli import main; sys.exit(main())"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(_RERANK_COMPLETE=f"{shell}_source"),
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"_RERANK_COMPLETE={shell}_complete" in shown.stdout
