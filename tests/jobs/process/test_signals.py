"""Signals: they end commands, also during imports, and handlers are restored."""

import importlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import polars as pl
import pytest
from support.real_runs import ROOT, SAMPLE, environment, groups, rerank

from jobs.process.signals import Signalled, raised_interrupts
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

READING = """
import os, signal, sys

from jobs.cli import main

def interrupt(event, arguments):
    if event == "open" and sys.argv[1] in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGTERM)

sys.addaudithook(interrupt)
sys.exit(main(sys.argv[2:]))
"""
"""A file is opened where a command handles the errors of reading it."""

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


def interrupted(body: Callable[[], object]) -> bool:
    """Return whether a body that gets a signal ends with `Interrupted`."""
    try:
        with raised_interrupts():
            body()
    except Interrupted:
        return True
    return False


def test_code_that_handles_errors_does_not_catch_a_signal() -> None:
    steps = []

    def body() -> None:
        with suppress(Exception):
            signal.raise_signal(signal.SIGTERM)
        steps.append("went on")

    assert interrupted(body)
    assert steps == []


def test_a_signal_that_a_library_turns_into_an_error_interrupts_nevertheless() -> None:
    def body() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise ValueError("a lock that was not taken")

    assert interrupted(body)


def test_a_signal_that_a_library_catches_interrupts_at_the_end() -> None:
    def body() -> None:
        with suppress(BaseException):
            signal.raise_signal(signal.SIGTERM)

    assert interrupted(body)


def test_a_signal_in_code_that_polars_calls_is_raised_when_that_is_done() -> None:
    """Polars makes the type of a list with a class of Python's."""
    frame, schemas = pl.DataFrame({"texts": [["a"]]}), list[pl.Schema]()

    def interrupt(called: FrameType, event: str, argument: object) -> None:
        if event == "call" and isinstance(called.f_locals.get("self"), pl.List):
            sys.setprofile(None)
            signal.raise_signal(signal.SIGTERM)

    def body() -> None:
        sys.setprofile(interrupt)
        schemas.append(frame.schema)
        assert threading.Event().wait(60), "the signal is lost"

    assert interrupted(body)
    assert schemas == [frame.schema]


def test_a_signal_at_the_edges_of_the_block_is_raised_once() -> None:
    """Where `contextlib` enters and leaves it, no `except` of ours is around."""
    lost = list[object]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lost.append)
        block = raised_interrupts()
        block.__enter__()
        with pytest.raises(Signalled):
            signal.raise_signal(signal.SIGTERM)
        del block

    assert lost == []


def test_a_signal_where_exceptions_are_ignored_is_raised_again() -> None:
    class Closing:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def body() -> None:
        Closing()
        assert threading.Event().wait(60), "the signal is lost"

    assert interrupted(body)


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


@pytest.fixture(scope="module")
def sample_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("signals") / "out"
    given = ["run", SAMPLE / "candidates.parquet", output, "--provider", "emulator"]
    assert rerank(*given, "--with-text", "--top-n", 5).code == 0
    return output


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("/_runs/", ["explain", "--query-id", "en-05"]),
        ("/_runs/", ["evaluate", "--qrels", SAMPLE / "qrels.parquet"]),
    ],
)
def test_a_signal_is_not_taken_for_a_file_that_cannot_be_read(
    file: str, command: list[object], sample_output: Path
) -> None:
    interrupted = subprocess.run(
        [sys.executable, "-c", READING, file, *map(str, command), sample_output],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert interrupted.returncode == 143, interrupted.stderr
    assert interrupted.stdout == ""
    assert "interrupted" in interrupted.stderr


def test_a_signal_ends_the_plan_of_a_backfill(tmp_path: Path) -> None:
    for day in ("2026-11-01", "2026-11-02"):
        groups([2], tmp_path / "in" / f"dt={day}" / "candidates.parquet")
    days = ["--from", "2026-11-01", "--to", "2026-11-02"]
    interrupted = subprocess.run(
        [
            *(sys.executable, "-c", IMPORTING, "pipeline.tokens.vocabulary"),
            *("backfill", tmp_path / "in", tmp_path / "out", *days, "--dry-run"),
        ],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert interrupted.returncode == 143, interrupted.stderr
    assert interrupted.stdout == ""


def test_ctrl_c_while_the_command_line_is_imported_exits_without_a_word() -> None:
    interrupted = subprocess.run(
        [sys.executable, "-c", STARTING, "--version"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert (interrupted.returncode, interrupted.stdout, interrupted.stderr) == (130, "", "")


def test_an_ignored_hangup_stays_ignored() -> None:
    with handled_by(signal.SIG_IGN, [signal.SIGHUP]), raised_interrupts():
        signal.raise_signal(signal.SIGHUP)
