"""Event loops of commands: a signal stops the work, whenever it comes."""

import signal
import subprocess
import sys

import pytest
from support.real_runs import ROOT, Ended, end, environment, start

from jobs.process.event_loop import EXIT_AFTER_S

STUCK = """
import asyncio, os, signal, threading

from jobs.process.event_loop import run_until_interrupted

class Job:
    num_unsaved = 1_234

    def stop(self, number):
        print("asked to stop", flush=True)
        threading.Event().wait()  # as on a disk that does not answer

async def work():
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.Event().wait()

run_until_interrupted(work, Job(), exit_after_s=0.2)
"""

TWICE = """
import asyncio, os, signal

import uvloop

from jobs.process.event_loop import run_until_interrupted

class Job:
    num_unsaved = 0

    def stop(self, number):
        print("asked to stop", flush=True)
        os.kill(os.getpid(), signal.SIGINT)

async def work():
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
    await asyncio.Event().wait()

run_until_interrupted(work, Job(), loop_factory=uvloop.new_event_loop, exit_after_s=600)
"""

EACH_MOMENT = """
import asyncio, collections, logging, signal, sys

import uvloop

from jobs.process.event_loop import run_until_interrupted
from jobs.process.signals import raised_interrupts
from pipeline.core.errors import Interrupted

is_uvloop, has_job = (argument == "yes" for argument in sys.argv[1:])
logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of slow steps on a busy machine
sys.unraisablehook = lambda failure: outcomes.update([f"lost: {failure}"])

class Job:
    num_unsaved = 0

    def __init__(self):
        self.end = asyncio.Event()
        self.number = None

    def stop(self, number):
        self.number = number
        self.end.set()

def count_calls(last):
    calls = 0

    def profile(frame, event, argument):
        nonlocal calls
        if event == "call":
            calls += 1
            if calls == last:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGTERM)

    sys.setprofile(profile)
    return lambda: calls

def outcome(last):
    job = Job()

    async def work():
        for _ in range(3):
            await asyncio.sleep(0)
        if job.number is not None:
            raise Interrupted(job.number)
        return "done"

    factory = uvloop.new_event_loop if is_uvloop else None
    num_calls = None
    try:
        with raised_interrupts():
            num_calls = count_calls(last)
            try:
                result = run_until_interrupted(
                    work, job if has_job else None, loop_factory=factory, exit_after_s=600
                )
            finally:
                sys.setprofile(None)
    except Interrupted as interrupted:
        return f"interrupted by {interrupted.signal_number:d}", num_calls()
    except BaseException as error:
        return repr(error), num_calls()
    return result, num_calls()

outcomes = collections.Counter()
_, num_calls = outcome(0)
for last in range(1, num_calls + 1):
    outcomes[outcome(last)[0]] += 1
outcome(0)
print(num_calls >= 20, *sorted(outcomes))
"""
"""A signal at each call of a function from the making of an event loop to its end."""


def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_job_that_does_not_end_is_ended() -> None:
    stuck = run(STUCK)

    assert stuck.stdout == "asked to stop\n"
    assert stuck.returncode == 143
    assert "interrupted, exited before cleanup finished; 1,234 paid answers" in stuck.stderr


def test_a_second_signal_exits_at_once() -> None:
    impatient = run(TWICE)

    assert impatient.stdout == "asked to stop\n"
    assert impatient.returncode == 130
    assert "interrupted again, exited at once" in impatient.stderr


def test_a_job_has_less_than_five_seconds() -> None:
    assert 4 < EXIT_AFTER_S < 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", [("emulate",), ("quota", "serve")])
def test_a_signal_is_the_usual_end_of_a_server(
    command: tuple[str, ...], number: signal.Signals
) -> None:
    server = start(*command)
    assert server.stdout is not None
    assert server.stdout.readline().startswith("http://127.0.0.1:")

    server.send_signal(number)

    assert end(server) == Ended(0, "", "")


@pytest.mark.parametrize("has_job", ["yes", "no"])
@pytest.mark.parametrize("is_uvloop", ["yes", "no"])
def test_a_signal_at_any_moment_of_an_event_loop_interrupts_the_work(
    is_uvloop: str, has_job: str
) -> None:
    interrupted = run(EACH_MOMENT, is_uvloop, has_job)

    assert (interrupted.stdout, interrupted.stderr) == ("True interrupted by 15\n", "")
