"""Run a command as a task: the work of an operator, without Airflow."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jobs.airflow.child import STOP_WITHIN_S, Child
from jobs.airflow.log_lines import LogLines
from jobs.airflow.outcomes import REJECTS, TaskFailed, failure
from jobs.airflow.summary import read_summary


class Log(Protocol):
    """The log of a task."""

    def log(self, level: int, message: str, /, *arguments: object) -> None:
        """Log a message of a level of `logging`."""


class CommandTask:
    """One command, run once.

    Args:
        log: Gets the command, and what it logs, line by line.
        allow_rejects: Whether the task succeeds although too many candidates were rejected.
        stop_within_s: Seconds from SIGTERM to SIGKILL when the task is killed.
    """

    def __init__(
        self, log: Log, *, allow_rejects: bool = False, stop_within_s: float = STOP_WITHIN_S
    ) -> None:
        self._log = log
        self._allow_rejects = allow_rejects
        self._stop_within_s = stop_within_s
        self._child: Child | None = None
        self._is_killed = False

    def run(
        self, python: str, words: Sequence[str], environment: Mapping[str, str]
    ) -> dict[str, Any] | None:
        """Run `rerank`; return the JSON object that it printed, or log what else it printed.

        Args:
            python: Interpreter of the environment in which the project is installed.
            words: The command and its arguments.
            environment: All of it.

        Raises:
            TaskFailed: if the command failed, or was stopped with any exit code.
        """
        command = [python, "-P", "-m", "jobs", *words]  # -P: no module of the working folder
        self._log.log(logging.INFO, "Running %s", shlex.join(command))
        lines = LogLines()

        def on_line(line: str) -> None:
            level, message = lines.read(line)
            self._log.log(level, "%s", message)

        try:
            child = Child(command, environment, on_line, stop_within_s=self._stop_within_s)
        except OSError as error:
            raise TaskFailed(f"{python} cannot be started: {error}", may_pass=False) from error
        self._child = child
        if self._is_killed:  # while the child was being started
            child.stop()
        code, out = child.wait()
        if child.is_stopped:
            text = f"rerank {words[0]} was stopped (exit {code}); a retry goes on where it stopped"
            raise TaskFailed(text, may_pass=True)
        if code == REJECTS and self._allow_rejects:
            self._log.log(logging.WARNING, "The output lacks scores: too many were rejected")
        elif code != 0:
            raise failure(words[0], code, lines.failure)
        summary = read_summary(out)
        if summary is None:
            for line in out.splitlines():
                self._log.log(logging.INFO, "%s", line)
        return summary

    def kill(self) -> None:
        """Stop the command: SIGTERM to its process group, and SIGKILL if it does not end."""
        self._is_killed = True
        if self._child is not None:
            self._child.stop()
