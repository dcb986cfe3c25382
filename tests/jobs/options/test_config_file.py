"""`--config` and `rerank.toml`: which values win, and which files are refused."""

import json
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
        ("top_nn = 3", "c.toml: no option has this name (found top_nn); did you mean top-n?"),
        ("[run]\nmax-csot = 3", "c.toml: [run]: no option has this name (found max-csot); did you"),
        ("input-name = 'x'", "no option has this name (found input-name); "),
        ("[rum]\ntop-n = 3", "no table has this name (found rum); did you mean run?"),
        ("config = 'x'", "cannot be set in a file (found config)"),
        ("run = 3", "no option has this name (found run); see --help"),
        ("x = [", "not TOML: "),
        ("top-n = [3]", "top-n: cannot be used (found [3], expected a string, number or boolean)"),
        ("column = 'a=b'", "column: cannot be used (found 'a=b', expected a list of strings)"),
        ("top-n = 2000-01-01", "top-n: cannot be used"),
        ("top-n = 3.5", "--top-n: not a whole number (found 3.5, expected 1 or more)"),
        ("top-n = true", "--top-n: not a whole number (found true, expected 1 or more)"),
        ("restart = 'perhaps'", "--restart: neither true nor false (found perhaps, "),
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_rerank_toml_of_the_working_folder_is_read_after_command_line_and_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "rerank.toml").write_text("top-n = 1\nmax-attempts = 2\ncertify-depth = 3\n")
    monkeypatch.setenv("RERANK_RUN_TOP_N", "10")
    monkeypatch.setenv("RERANK_RUN_MAX_ATTEMPTS", "20")

    settings = settings_from("--top-n", "100")

    assert (settings.top_n, settings.max_attempts, settings.certify_depth) == (100, 20, 3)
    assert settings.max_rejects == 0


@pytest.mark.parametrize("how", ["option", "variable", "another"])
def test_a_rerank_toml_is_left_out_on_request(
    how: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "rerank.toml").write_text("not TOML")
    (folder / "c.toml").write_text("certify-depth = 7")
    options: tuple[str, ...] = ()
    if how == "variable":
        monkeypatch.setenv("RERANK_RUN_NO_CONFIG", "1")
    else:
        options = ("--no-config",) if how == "option" else ("--config", "c.toml")

    assert settings_from(*options).certify_depth == (7 if how == "another" else None)


@pytest.mark.parametrize("arguments", [("--no-config", "--config"), ("--config", "--no-config")])
def test_no_config_and_a_config_exclude_each_other(
    arguments: tuple[str, str], folder: Path
) -> None:
    (folder / "c.toml").write_text("top-n = 1")
    typed = [a for name in arguments for a in ((name, "c.toml") if name == "--config" else (name,))]

    ended = rerank_here("plan", "a", *typed)

    assert ended.code == 2
    assert ended.failure == "rerank: error: --no-config: excludes --config; leave one out"


def test_what_a_rerank_toml_sets_is_said_in_one_line(folder: Path) -> None:
    (folder / "rerank.toml").write_text(
        'provider = "emulator"\nscore-store = "s"\n[evaluate]\nall = true\n[plan]\ntop-n = 9\n'
    )

    ended = rerank_here("plan", SAMPLE / "candidates.parquet", "--provider", "dashscope", "--json")

    assert ended.code == 0
    assert ended.err == "rerank: rerank.toml sets top-n (--no-config leaves it out)\n"


def test_with_json_logs_it_is_an_event(folder: Path) -> None:
    (folder / "rerank.toml").write_text('log-format = "json"\nmax-cost = 3\n')

    ended = rerank_here("run", "no-such-file", "out", *OFFLINE)

    said, failure = map(json.loads, ended.err.splitlines())
    assert said["event"] == "config.read"
    assert said["file"] == "rerank.toml"
    assert said["options"] == ["max-cost", "log-format"]
    assert failure["exit_code"] == 3


def test_a_rerank_toml_that_sets_nothing_is_not_spoken_of(folder: Path) -> None:
    (folder / "rerank.toml").write_text("# nothing")

    assert rerank_here("plan", SAMPLE / "candidates.parquet").err == ""


def test_a_key_of_any_command_may_stand_in_the_file_of_all(folder: Path) -> None:
    (folder / "rerank.toml").write_text('fail-if-worse = true\npartition_key = "day"\nport = 9')

    assert rerank_here("plan", SAMPLE / "candidates.parquet").code == 0


def test_an_invalid_value_of_a_rerank_toml_names_the_file(folder: Path) -> None:
    (folder / "rerank.toml").write_text('max-cost = "$20"')

    assert rerank_here("plan", "a").failure == (
        "rerank: error: --max-cost: not a number (found $20, expected US dollars above 0, such as"
        " 20 or 0.5) (from rerank.toml); see rerank plan --help"
    )


def test_a_rerank_toml_that_is_a_broken_link_is_not_ignored(folder: Path) -> None:
    (folder / "rerank.toml").symlink_to("nowhere.toml")

    ended = rerank_here("plan", SAMPLE / "candidates.parquet")

    assert ended.code == 2
    assert ended.failure == (
        "rerank: error: rerank.toml: cannot be read: No such file or directory; correct it, or"
        " leave it out with --no-config"
    )


def test_an_option_is_not_set_twice(folder: Path) -> None:
    (folder / "rerank.toml").write_text("[plan]\ntop-n = 3\ntop_n = 4\n")

    assert rerank_here("plan", "a").failure == (
        "rerank: error: rerank.toml: [plan]: are one option (found top-n and top_n)"
    )


def test_the_offline_service_of_a_run_does_not_read_the_file_of_its_folder(folder: Path) -> None:
    (folder / "rerank.toml").write_text("[emulate]\nfail-rate = 1\napi-key = 'none'\n")

    ended = rerank_here("run", SAMPLE / "candidates.parquet", "out", "--provider", "emulator")

    assert ended.code == 0, ended.err
