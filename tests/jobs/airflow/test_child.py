"""A command as a child: its lines, its end, and how it is stopped; with real processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from support.real_runs import ROOT, environment, wait_until

from jobs.airflow.child import STOP_WITHIN_S, Child
from jobs.process.event_loop import EXIT_AFTER_S
from pipeline.dataset.limits import RunLimits

READY = "print('ready', file=sys.stderr, flush=True)"
STUBBORN = f"""
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: print('asked', file=sys.stderr, flush=True))
{READY}
while True:
    time.sleep(0.01)
"""
ORDERLY = f"""
import signal, sys, time
def leave(*_):
    print('saved', file=sys.stderr, flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
{READY}
time.sleep(60)
"""
"""It ends as a BashOperator's child may: with 0, although its work is not done."""


def child(script: str, lines: list[str], *, stop_within_s: float = 10.0) -> Child:
    return Child(
        [sys.executable, "-c", script], environment(), lines.append, stop_within_s=stop_within_s
    )


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_passes_on_every_line_and_returns_code_and_stdout() -> None:
    lines: list[str] = []
    script = "import sys; print('out'); print('one\\n\\ntwo', file=sys.stderr); sys.exit(7)"

    code, out = child(script, lines).wait()

    assert (code, out, lines) == (7, "out\n", ["one", "", "two"])


def test_a_lot_of_output_blocks_nothing() -> None:
    lines: list[str] = []
    script = """
import sys
for n in range(20_000):
    print("o" * 50)
    print("e" * 50, file=sys.stderr)
"""

    code, out = child(script, lines).wait()

    assert (code, len(out), len(lines)) == (0, 20_000 * 51, 20_000)


def test_bytes_that_are_not_utf8_and_a_line_without_end_are_kept() -> None:
    lines: list[str] = []
    script = "import os; os.write(2, b'\\xff!\\n' + b'x' * 100_000 + b'\\nlast')"

    child(script, lines).wait()

    assert lines[0] == "\\xff!"
    assert "".join(lines[1:-1]) == "x" * 100_000
    assert lines[-1] == "last"


def test_the_lines_of_a_traceback_arrive() -> None:
    lines: list[str] = []

    code, _ = child("raise ValueError('odd')", lines).wait()

    assert code == 1
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: odd"


def test_a_log_that_cannot_be_written_does_not_block_the_child() -> None:
    seen: list[type[BaseException]] = []
    before = threading.excepthook
    threading.excepthook = lambda args: seen.append(args.exc_type)

    def refuse(line: str) -> None:
        raise OSError(line)

    try:
        script = "import sys\nfor n in range(20_000): print('e' * 50, file=sys.stderr)"
        code, _ = Child([sys.executable, "-c", script], environment(), refuse).wait()
    finally:
        threading.excepthook = before

    assert code == 0
    assert seen == [OSError]


def test_a_process_that_outlives_the_child_and_holds_its_log_open_is_not_waited_for() -> None:
    lines: list[str] = []
    script = """
import subprocess, sys
sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
                           start_new_session=True)
print(sleeper.pid, file=sys.stderr)
"""
    begun = time.monotonic()

    code, _ = child(script, lines).wait()

    os.kill(int(lines[0]), signal.SIGKILL)
    assert code == 0
    assert time.monotonic() - begun < 20


def test_stop_sends_sigterm_and_waits_for_an_orderly_end() -> None:
    lines: list[str] = []
    running = child(ORDERLY, lines)
    wait_until(lambda: lines)

    running.stop()

    assert running.is_stopped
    assert running.wait()[0] == 0
    assert lines == ["ready", "saved"]


def test_a_child_that_ignores_sigterm_is_killed_with_all_that_it_started() -> None:
    lines: list[str] = []
    script = f"""
import subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}])
print(grandchild.pid, file=sys.stderr, flush=True)
{STUBBORN}
"""
    running = child(script, lines, stop_within_s=0.3)
    wait_until(lambda: lines.count("ready") == 2)
    grandchild = int(next(line for line in lines if line.isdigit()))

    running.stop()

    assert running.wait()[0] == -signal.SIGKILL
    assert "".join(lines).count("asked") == 2
    wait_until(lambda: not is_alive(grandchild))


def test_stop_after_the_end_does_nothing() -> None:
    running = child("pass", [])
    assert running.wait()[0] == 0

    running.stop()

    assert not running.is_stopped


class Terminated(Exception):
    """What Airflow 2 raises inside a task after it has called on_kill."""


@contextmanager
def on_sigterm(handler: object) -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def send_sigterm_once(lines: list[str]) -> threading.Thread:
    def send() -> None:
        wait_until(lambda: lines)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    return sender


def test_a_handler_may_stop_the_child_while_wait_is_waiting_as_airflow_3_does() -> None:
    lines: list[str] = []
    running = child(ORDERLY, lines)

    def handler(number: int, frame: FrameType | None) -> None:
        running.stop()

    with on_sigterm(handler):
        sender = send_sigterm_once(lines)
        begun = time.monotonic()
        code, _ = running.wait()
        sender.join()

    assert (code, running.is_stopped) == (0, True)
    assert time.monotonic() - begun < 8  # not until SIGKILL


def test_what_interrupts_wait_goes_on_once_the_child_has_ended_as_in_airflow_2() -> None:
    lines: list[str] = []
    running = child(ORDERLY, lines)

    def handler(number: int, frame: FrameType | None) -> None:
        raise Terminated

    with on_sigterm(handler):
        sender = send_sigterm_once(lines)
        with pytest.raises(Terminated):
            running.wait()
        sender.join()

    assert running.is_stopped
    assert "saved" in wait_until(lambda: lines[1:])


SUPERVISED = f"""
import os, sys
from jobs.airflow.child import Child
if os.fork() == 0:
    command = [sys.executable, "-c", {ORDERLY!r}]
    child = Child(command, os.environ, lambda line: print(line, flush=True))
    print(child.wait()[0], child.is_stopped, flush=True)
    os._exit(0)
os.read(0, 1)
os._exit(1)  # without a word to the task, as when the supervisor is killed
"""


def test_the_child_is_stopped_when_the_supervisor_of_the_task_has_ended() -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISED],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert supervisor.stdout is not None
    assert supervisor.stdin is not None
    assert supervisor.stdout.readline() == "ready\n"
    supervisor.stdin.write("x")
    out, _ = supervisor.communicate(timeout=30)

    assert out == "saved\n0 True\n"


def test_a_program_that_does_not_exist_is_an_error_at_once() -> None:
    with pytest.raises(FileNotFoundError):
        Child(["/no/such/program"], {}, print)


def test_a_run_has_time_to_drain_and_airflow_does_not_cut_it_off() -> None:
    assert RunLimits().drain_s < STOP_WITHIN_S < EXIT_AFTER_S < 5
