"""The emulator as a process: its command line, its exit, and as the child of a job."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.emulator.command import emulate
from jobs.emulator.config import EmulatorConfig
from jobs.emulator.wire_formats import NATIVE
from pipeline.api.emulator_process import emulator_process
from pipeline.core.errors import SettingsError

COMMAND = [sys.executable, "-m", "jobs", "emulate"]
BODY = {"model": "qwen3-rerank", "input": {"query": "tent", "documents": ["a tent", "a stove"]}}


def start(*options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def ask(url: str) -> Any:
    request = urllib.request.Request(
        url.removesuffix(NATIVE.path) + NATIVE.path,
        json.dumps(BODY).encode(),
        {"Authorization": "Bearer any"},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def ask_until_nobody_answers(url: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        ask(url)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_cleanly(signal_number: signal.Signals) -> None:
    with start() as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        answered = ask(url)
        process.send_signal(signal_number)
        code = process.wait(10)

    assert url.startswith("http://127.0.0.1:")
    assert url.endswith(NATIVE.path)
    assert answered["output"]["results"][0]["index"] == 0
    assert code == 0


def test_a_child_ends_when_its_standard_input_does() -> None:
    with start("--exit-with-parent") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.close()

        assert process.wait(10) == 0


def test_the_child_of_a_killed_parent_exits() -> None:
    parent_code = (
        "from pipeline.api.emulator_process import emulator_process\n"
        "with emulator_process() as url:\n"
        "    print(url, flush=True)\n"
        "    input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        ask(url)
        parent.kill()

    with pytest.raises(OSError, match=r"refused|reset|closed|pipe"):
        ask_until_nobody_answers(url)


def test_a_child_uses_the_options_it_was_given() -> None:
    with emulator_process("--score-digits", "2", "--seed", "7") as url:
        first = ask(url)
    with emulator_process("--score-digits", "2", "--seed", "7") as url:
        again = ask(url)

    scores = [result["relevance_score"] for result in first["output"]["results"]]
    assert scores == [round(score, 2) for score in scores]
    assert first == again


def test_a_child_imports_nothing_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("jobs.py", "numpy.py", "random.py", "aiohttp.py", "sitecustomize.py"):
        (tmp_path / name).write_text(f"open({name + '.ran'!r}, 'w').close()")
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("open('pipeline.ran', 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    monkeypatch.syspath_prepend(tmp_path)

    with emulator_process() as url:
        answered = ask(url)

    assert len(answered["output"]["results"]) == 2
    assert sorted(tmp_path.glob("*.ran")) == []


def test_an_address_in_use_is_one_line() -> None:
    with emulator_process() as url:
        second = subprocess.run(
            [*COMMAND, "--port", url.rpartition(":")[2]], capture_output=True, text=True, timeout=20
        )

    assert second.returncode == 2
    assert "--port" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize("fault", ["501", "500=2", "500@0"])
def test_an_unknown_fault_is_a_usage_error(fault: str) -> None:
    result = CliRunner().invoke(emulate, ["--fault", fault])

    assert result.exit_code == 2
    assert "reset-before" in result.output


def test_the_help_shows_every_option() -> None:
    told = CliRunner().invoke(emulate, ["--help"]).output

    for option in emulate.params:
        assert (option.opts[0] in told) != (option.name == "exit_with_parent")


@pytest.mark.parametrize(
    "setting",
    [
        {"latency_ms": -1},
        {"requests_per_minute": 0},
        {"tokens_per_minute": -5},
        {"clock_jitter_s": 1},
        {"fail_rate": 1.1},
        {"score_distortion": "odd"},
        {"score_noise": -0.1},
        {"score_digits": -1},
    ],
)
def test_an_impossible_setting_is_refused_by_name(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(setting))):
        EmulatorConfig(**setting)


def test_the_key_is_not_in_the_printed_settings() -> None:
    assert "hidden-key" not in repr(EmulatorConfig(api_key="hidden-key"))


def test_a_child_that_cannot_start_is_an_error() -> None:
    with pytest.raises(SettingsError, match="did not start"), emulator_process("--port", "99999"):
        os.abort()  # never reached
