"""`--config`: which values win, and which files are refused."""

from pathlib import Path

import click
import pytest
from support.real_runs import SAMPLE, rerank_here

from jobs.cli import cli
from jobs.options.settings import make_settings
from pipeline.core.settings import RunSettings

OFFLINE = ("--provider", "emulator", "--url", "http://127.0.0.1:9/")


def settings_from(*arguments: str) -> RunSettings:
    """Return the settings of a `run` with these options, without running it."""
    root = click.Context(cli)
    run = cli.get_command(root, "run")
    assert run is not None
    with run.make_context("run", ["in", "out", *OFFLINE, *arguments], parent=root) as context:
        return make_settings(context.params)


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        "top-n = 1\nmax_attempts = 2\ncertify-depth = 3\nmax-rejects = 9\n[run]\nmax-rejects = 4\n"
        "[plan]\ntop-n = 99\n"
    )
    monkeypatch.setenv("RERANK_RUN_TOP_N", "10")
    monkeypatch.setenv("RERANK_RUN_MAX_ATTEMPTS", "20")

    settings = settings_from("--config", str(config), "--top-n", "100")

    assert settings.top_n == 100
    assert settings.max_attempts == 20
    assert settings.certify_depth == 3
    assert settings.max_rejects == 4


def test_repeatable_options_come_from_a_list_or_from_separate_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "c.toml"
    config.write_text('column = ["query=question", "text=a passage"]\nwith-text = true\n')
    by_file = settings_from("--config", str(config))
    monkeypatch.setenv("RERANK_RUN_COLUMN", "query=question text=passage")
    by_variable = settings_from()

    assert by_file.columns == {"query": "question", "text": "a passage"}
    assert by_file.with_text
    assert by_variable.columns == {"query": "question", "text": "passage"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("top_nn = 3", "unknown options (found top-nn)"),
        ("input-name = 'x'", "unknown options (found input-name)"),
        ("[rum]\ntop-n = 3", "unknown options (found rum)"),
        ("config = 'x'", "unknown options (found config)"),
        ("run = 3", "unknown options (found run)"),
        ("x = [", "not TOML: "),
        ("top-n = [3]", "top-n: cannot be used (found [3], expected a string, number or boolean)"),
        ("column = 'a=b'", "column: cannot be used (found 'a=b', expected a list of strings)"),
        ("top-n = 2000-01-01", "top-n: cannot be used"),
        ("top-n = 3.5", "Invalid value for '--top-n': '3.5' is not a valid integer"),
        ("top-n = true", "Invalid value for '--top-n': 'true' is not a valid integer"),
        ("restart = 'perhaps'", "Invalid value for '--restart': 'perhaps'"),
    ],
)
def test_an_invalid_config_file_is_refused(content: str, message: str, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(content)

    ended = rerank_here("run", "a", "b", *OFFLINE, "--config", config)

    assert ended.code == 2
    assert message in ended.failure
    assert "--config" in ended.failure


def test_a_missing_config_file_is_refused() -> None:
    ended = rerank_here("plan", "a", "--config", "none.toml")

    assert ended.code == 2
    assert ended.failure == (
        "rerank: error: --config none.toml: cannot be read: No such file or directory"
    )


def test_one_config_serves_run_and_plan(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('provider = "emulator"\nscore-store = "scores"\nmax-documents = 25\n')

    ended = rerank_here("plan", SAMPLE / "candidates.parquet", "--config", config, "--json")

    assert ended.code == 0
    assert ended.facts["requests"] > 51
