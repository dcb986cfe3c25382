"""The command line: refusals, failures, and the sources of option values."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support.logging_state import restored_logging
from support.real_runs import ROOT, environment, rerank

from jobs import cli
from jobs.cli import main

OFFLINE = ("--provider", "emulator", "--url", "http://127.0.0.1:9/")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    with restored_logging():
        yield


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return the exit code and the one line on stderr; stdout must be empty."""
    code = main(list(arguments))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return code, err.removesuffix("\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["foo"], "No such command 'foo'; see rerank --help"),
        (["evalute"], "No such command 'evalute'. Did you mean 'evaluate'?; see rerank --help"),
        (["run"], "Missing argument 'INPUT'; see rerank run --help"),
        (["run", "a"], "Missing argument 'OUTPUT'; see rerank run --help"),
        (
            ["run", "a", "b", "--reststart"],
            "No such option '--reststart'. Did you mean '--restart'?; see rerank run --help",
        ),
        (
            ["run", "a", "b", "--top-n", "0"],
            "--top-n: impossible (found 0, expected 1 or more); see rerank run --help",
        ),
        (
            ["run", "a", "b", "--provider", "vtrix"],
            "VTRIX_API_KEY: no API key; export VTRIX_API_KEY=... or name another variable with"
            " --api-key-env",
        ),
        (
            ["run", "a", "b", *OFFLINE, "--model", "gte-rerank-v2", "--instruct", "x"],
            "--instruct: gte-rerank-v2 ignores an instruction; leave it out or choose another"
            " --model",
        ),
        (
            ["run", "a", "b", *OFFLINE, "--column", "query"],
            "--column: cannot be used (found query, expected NAME=SOURCE, each NAME once)",
        ),
        (
            ["run", "a", "foo://b", *OFFLINE],
            "OUTPUT: unknown kind of address (found foo://b, expected a path, s3://, gs:// or"
            " abfs://)",
        ),
        (
            ["run", "a", "b", *OFFLINE, "--score-store", "foo://b"],
            "--score-store: unknown kind of address (found foo://b, expected a path, s3://, gs://"
            " or abfs://)",
        ),
        (
            ["run", "a", "b", *OFFLINE[:2], "--url", "ftp://x"],
            "--url: not a web address (found ftp://x, expected http(s)://HOST[:PORT]/...)",
        ),
        (
            ["run", "a", "b", *OFFLINE[:2], "--url", "https://user:secret@host/"],
            "--url: holds a user or a password; use --api-key-env instead",
        ),
        (
            ["run", "a", "b", *OFFLINE[:2], "--url", "http:///path"],
            "--url: not a web address (found http:///path, expected http(s)://HOST[:PORT]/...)",
        ),
    ],
)
def test_bad_usage_and_settings_are_one_line_and_exit_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VTRIX_API_KEY", raising=False)

    assert refused(capsys, *arguments) == (2, f"rerank: error: {message}")


@pytest.mark.parametrize(
    "arguments",
    [["run", "no-such-file", "out", *OFFLINE], ["plan", "no-such-file"]],
    ids=lambda arguments: arguments[0],
)
def test_no_input_is_exit_3(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    line = "rerank: error: no-such-file: no such file or folder; check the input's name"

    assert refused(capsys, *arguments) == (3, line)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "no-such"], "not an output of `rerank run`: it has no _manifest.json"),
        (["evaluate", "no-such", "--qrels", "none"], "no-such: no such output"),
        (["compare", "no-such", "neither"], "no-such: no such output"),
        (["store", "info", "no-such"], "no-such: no such score store"),
        (["store", "prune", "no-such", "--unused-for", "3"], "no-such: no such score store"),
        (["status", "foo://x"], "foo://x: unknown kind of address"),
    ],
)
def test_missing_files_are_exit_3(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = refused(capsys, *arguments)

    assert code == 3
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "a", "b", "--log-format", "json", "--no-such", "2"], 2),
        (["run", "a", "b", "--no-such", "2", "--log-format=json"], 2),
        (["run", "--log-format", "json", "no-such-file", "b", *OFFLINE], 3),
    ],
)
def test_with_json_logs_a_failure_is_one_json_object(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found, line = refused(capsys, *arguments)

    facts = json.loads(line)
    assert found == code == facts["exit_code"]
    assert facts["level"] == "error"
    assert facts["message"]


def test_the_log_format_of_a_failure_may_come_from_a_file_or_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "c.toml"
    config.write_text('log-format = "json"')
    _, by_file = refused(capsys, "run", "a", "b", "--config", str(config), "--top-n", "0")
    monkeypatch.setenv("RERANK_RUN_LOG_FORMAT", "json")
    _, by_variable = refused(capsys, "run", "a", "b", "--no-such", "2")

    assert json.loads(by_file)["exit_code"] == json.loads(by_variable)["exit_code"] == 2


@pytest.mark.parametrize("command", ["run", "backfill", "load"])
def test_the_log_format_of_a_refused_command_line_is_that_of_its_command(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"RERANK_{command.upper()}_LOG_FORMAT", "json")

    _, by_variable = refused(capsys, command, "--no-such-option")
    _, of_another = refused(capsys, "plan", "--no-such-option")

    assert json.loads(by_variable)["exit_code"] == 2
    assert of_another.startswith("rerank: error: ")


class PanicException(BaseException):  # named as those of Polars
    """A failure of a library that is not written in Python."""


@pytest.mark.parametrize("kind", [ZeroDivisionError, PanicException])
def test_an_unexpected_error_is_one_line_and_exit_1(
    kind: type[BaseException], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind("a\nlong " + 1_000 * "story ")

    monkeypatch.setattr("jobs.commands.status.read_status", fail)

    code, line = refused(capsys, "status", "x")

    assert code == 1
    assert line.startswith(f"rerank: error: unexpected {kind.__name__}: a long story")
    assert len(line) < 400


def test_an_invalid_value_from_the_environment_names_its_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RERANK_PLAN_MAX_COST", "much")

    _, line = refused(capsys, "plan", "a")

    assert "--max-cost: not a number (found much, expected US dollars" in line
    assert "RERANK_PLAN_MAX_COST" in line


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_option_has_a_variable_and_help(name: str) -> None:
    context = click.Context(cli.cli)
    command = cli.cli.get_command(context, name)
    assert command is not None
    pairs = [(name, command)]
    if isinstance(command, click.Group):
        pairs = [(f"{name}_{under}", c) for under, c in command.commands.items()]

    for path, leaf in pairs:
        assert leaf.help
        for option in leaf.params:
            if isinstance(option, click.Option):
                long_name = max(option.opts, key=len).lstrip("-").replace("-", "_")
                assert option.envvar == f"RERANK_{path}_{long_name}".upper()
                assert option.help, option.name


def test_help_imports_no_heavy_module() -> None:
    code = "import sys; from jobs.cli import main; main(['--help']); print(*sys.modules)"

    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    modules = shown.stdout.rpartition("\n\n")[2].split()
    assert "jobs.cli" in modules
    slow = {"numpy", "pyarrow", "polars", "aiohttp", "rich", "msgspec", "orjson", "logging"}
    assert not (slow | {"jobs.commands.run"}) & set(modules)


@pytest.mark.parametrize("command", ["run", "plan", "backfill"])
def test_help_of_a_command_imports_no_library_that_only_its_work_needs(command: str) -> None:
    code = (
        f"import sys; from jobs.cli import main; main(['{command}', '--help']); print(*sys.modules)"
    )

    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    modules = shown.stdout.rpartition("\n\n")[2].split()
    assert f"jobs.commands.{command}" in modules
    assert not {"numpy", "pyarrow", "polars", "aiohttp"} & set(modules)


def test_help_takes_little_cpu() -> None:
    times_s = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "jobs", "--help"], cwd=ROOT, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    assert min(times_s) < 0.2


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_a_working_folder_that_is_gone_is_exit_2(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()

    code, line = refused(capsys, command, "out")

    assert code == 2
    assert "the working folder does not exist any more; change to one that does" in line


def test_no_command_shows_the_help_and_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2

    assert "emulate" in capsys.readouterr().err


def test_a_closed_pipe_is_not_a_failure() -> None:
    plan = f"{sys.executable} -m jobs plan sample_data/candidates.parquet"
    shell = f"{plan} | true; echo ${{PIPESTATUS[0]}}"

    ended = subprocess.run(
        ["bash", "-c", shell], cwd=ROOT, env=environment(), capture_output=True, text=True
    )

    assert (ended.stdout, ended.stderr) == ("0\n", "")


def test_a_closed_stderr_does_not_change_the_exit_code() -> None:
    shell = f"{sys.executable} -m jobs plan no-such-file 2>&-"

    assert subprocess.run(["bash", "-c", shell], cwd=ROOT, env=environment()).returncode == 3


def test_a_missing_key_is_reported_before_anything_is_written(tmp_path: Path) -> None:
    ended = rerank("run", "no-such-file", tmp_path / "out")

    assert ended.code == 2
    assert "DASHSCOPE_API_KEY: no API key" in ended.failure
    assert not (tmp_path / "out").exists()
