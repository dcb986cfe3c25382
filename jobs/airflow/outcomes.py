"""The meaning of a command's exit code for a task: retry it, or fail it at once."""

import signal
from typing import Final, NamedTuple


class Outcome(NamedTuple):
    """How a command ended.

    Attributes:
        meaning: In words.
        may_pass: Whether the same command may succeed later without a person acting.
    """

    meaning: str
    may_pass: bool


class TaskFailed(Exception):
    """A task cannot be done, now or ever.

    Args:
        message: What failed, and why.
        may_pass: Whether the same task may succeed later without a person acting.
    """

    def __init__(self, message: str, *, may_pass: bool) -> None:
        self.may_pass = may_pass
        super().__init__(message)


REJECTS: Final = 7
"""The exit code of a run that finished with more rejects than `max_rejects`."""

OUTCOMES: Final = {
    1: Outcome("unexpected, or the output cannot be written", may_pass=True),
    2: Outcome("usage or settings, a missing key among them", may_pass=False),
    3: Outcome("the input cannot be read or understood", may_pass=False),
    4: Outcome("the service or server refuses until a person acts", may_pass=False),
    5: Outcome("the output belongs to other settings or input", may_pass=False),
    6: Outcome("another run holds the output", may_pass=True),
    REJECTS: Outcome("finished, but more candidates were rejected than allowed", may_pass=True),
    8: Outcome("the service or server was down for too long", may_pass=True),
    9: Outcome("one more request could exceed max_cost", may_pass=False),
    10: Outcome("the quality gate failed", may_pass=False),
    130: Outcome("interrupted by SIGINT, state saved", may_pass=True),
    143: Outcome("interrupted by SIGTERM or SIGHUP, state saved", may_pass=True),
}


def outcome_of(code: int) -> Outcome:
    """Return what an exit code other than 0 means.

    Args:
        code: As `subprocess` gives it: minus the number of the signal that killed the process.
    """
    if code < 0:
        return Outcome(f"killed by {_signal_name(-code)}", may_pass=True)
    return OUTCOMES.get(code, Outcome("an exit code that no command has", may_pass=True))


def failure(command: str, code: int, message: str | None) -> TaskFailed:
    """Return the failure of a task whose command ended with this code and message."""
    meaning, may_pass = outcome_of(code)
    text = f"rerank {command} ended with exit {code} ({meaning})"
    return TaskFailed(text + (f": {message}" if message else ""), may_pass=may_pass)


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name}, perhaps out of memory" if name == "SIGKILL" else name
