"""Signals: they end commands, also during imports, and handlers are restored."""

import importlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from support.real_runs import ROOT, environment

from jobs.process.signals import raised_interrupts
from pipeline.core.errors import Interrupted

IMPORTING = """
import os, signal, sys

from jobs.cli import main

def interrupt(event, arguments):
    if event == "import" and arguments[0] == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGTERM)

sys.addaudithook(interrupt)
sys.exit(main(sys.argv[2:]))
"""
"""An import in the body of a library, whose errors some libraries catch."""

STARTING = """
import os, signal, sys

def interrupt(event, arguments):
    if event == "import" and arguments[0] == "jobs.console.failures":
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(interrupt)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from jobs.__main__ import main
sys.exit(main())
"""
"""Ctrl-C while the command line itself is imported."""

CAREFUL = """
import signal

try:
    signal.raise_signal(signal.SIGTERM)
except Exception:
    is_whole = False
else:
    is_whole = True
"""
"""A library that catches what goes wrong while it is imported."""


def ignore(number: int, frame: FrameType | None) -> None:
    """Handle a signal by doing nothing."""


@contextmanager
def handled_by(handler: object, numbers: list[signal.Signals]) -> Iterator[None]:
    """Give these signals a handler for a while."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_raised_and_the_handlers_are_restored(number: signal.Signals) -> None:
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    with handled_by(ignore, numbers):
        with pytest.raises(Interrupted), raised_interrupts():
            signal.raise_signal(number)

        assert [signal.getsignal(number) for number in numbers] == [ignore] * 3


def test_a_signal_while_a_library_is_imported_is_raised_when_that_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "careful_library.py").write_text(CAREFUL)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Interrupted), raised_interrupts():
        importlib.import_module("careful_library")

    assert sys.modules["careful_library"].is_whole


def test_a_signal_in_a_program_that_is_run_by_an_import_is_raised_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imported_program.py").write_text(
        "import signal\n"
        "from jobs.process.signals import raised_interrupts\n"
        "with raised_interrupts():\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(Interrupted):
        importlib.import_module("imported_program")


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("typing_extensions", ["run", "no.parquet", "out", "--api-key-env", "PATH"]),
        ("numpy.exceptions", ["run", "no.parquet", "out", "--api-key-env", "PATH"]),
        ("pyarrow.lib", ["backfill", "in", "out", "--from", "1", "--to", "2", "--dry-run"]),
        ("polars.exceptions", ["evaluate", "out", "--qrels", "no.parquet"]),
        ("pyarrow.compute", ["export", "out", "out.jsonl"]),
    ],
)
def test_a_signal_while_a_library_is_imported_ends_the_command(
    module: str, arguments: list[str]
) -> None:
    interrupted = subprocess.run(
        [sys.executable, "-c", IMPORTING, module, *arguments],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert interrupted.returncode == 143, interrupted.stderr
    assert "interrupted" in interrupted.stderr
    assert "Traceback" not in interrupted.stderr


def test_ctrl_c_while_the_command_line_is_imported_exits_without_a_word() -> None:
    interrupted = subprocess.run(
        [sys.executable, "-c", STARTING, "--version"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert (interrupted.returncode, interrupted.stdout, interrupted.stderr) == (130, "", "")


def test_an_ignored_hangup_stays_ignored() -> None:
    with handled_by(signal.SIG_IGN, [signal.SIGHUP]), raised_interrupts():
        signal.raise_signal(signal.SIGHUP)
