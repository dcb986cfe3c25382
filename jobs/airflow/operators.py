"""The operators: a command of `rerank` as a task.

A task is not deferrable. The command sends, scores and writes all the time it runs, so something
must hold its process; a deferred task would hand that to the triggerer, which many tasks share and
which no resource limits of a task reach.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, ClassVar, Final, Literal, TypeAlias

try:
    from airflow.sdk import BaseOperator
except ImportError:  # Airflow 2
    from airflow.models import BaseOperator
try:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException
except ImportError:
    from airflow.exceptions import AirflowException, AirflowFailException

from jobs.airflow.command_line import (
    KEY_VARIABLE,
    backfill_words,
    child_environment,
    command_words,
    run_words,
)
from jobs.airflow.options import RUN_ONLY, refuse_misspelt, split_options, takes_options
from jobs.airflow.outcomes import TaskFailed
from jobs.airflow.task import CommandTask

OnRejects: TypeAlias = Literal["fail", "warn"]


class CommandOperator(BaseOperator):
    """Base of the operators: run a command, pass on its log, and judge how it ended.

    Args:
        rerank_conn_id: Connection whose password is the key of the rerank service. Without it the
            key comes from the worker's environment, as for the command.
        secret_conn_ids: Connections whose passwords the command finds in its environment, by
            variable: `{"PGPASSWORD": "warehouse"}`.
        python: Interpreter of the environment in which the project is installed; by default the
            worker's own.
        arguments_of_airflow: Arguments of every operator: `task_id`, `retries`, `pool`, ...
    """

    def __init__(
        self,
        *,
        rerank_conn_id: str | None = None,
        secret_conn_ids: Mapping[str, str] | None = None,
        python: str | None = None,
        **arguments_of_airflow: Any,
    ) -> None:
        super().__init__(**arguments_of_airflow)
        self.rerank_conn_id = rerank_conn_id
        self.secret_conn_ids = dict(secret_conn_ids or {})
        self.python = python
        self._task: CommandTask | None = None

    def execute(self, context: Any) -> dict[str, Any] | None:
        """Run the command; return what it printed with `--json`.

        Raises:
            AirflowException: if the command failed or was stopped, and may succeed when retried.
            AirflowFailException: if a retry would fail as well.
        """
        self._task = CommandTask(self.log, allow_rejects=self.allows_rejects)
        try:
            words = self.words()
            environment = child_environment(os.environ, words[0], self._secrets())
            return self._task.run(self.python or sys.executable, words, environment)
        except TaskFailed as error:
            kind = AirflowException if error.may_pass else AirflowFailException
            raise kind(str(error)) from None

    def on_kill(self) -> None:
        """Stop the command: SIGTERM to its process group, and SIGKILL 4.5 s later."""
        if self._task is not None:
            self._task.kill()

    def words(self) -> list[str]:
        """Return the command and its arguments."""
        raise NotImplementedError

    @property
    def allows_rejects(self) -> bool:
        """Whether the task succeeds although too many candidates were rejected."""
        return False

    def _secrets(self) -> dict[str, str]:
        secrets = {name: _password(conn_id) for name, conn_id in self.secret_conn_ids.items()}
        if self.rerank_conn_id is not None:
            secrets[KEY_VARIABLE] = _password(self.rerank_conn_id)
        return secrets


_ARGUMENTS_OF_AIRFLOW: Final = frozenset(
    {*signature(BaseOperator.__init__).parameters, *signature(CommandOperator.__init__).parameters}
)


class RerankCommandOperator(CommandOperator):
    """Runs any command of `rerank`: `plan`, `evaluate`, `load`, ...

    Args:
        arguments: The command and its arguments, as they would be typed. With `--json` the XCom is
            what the command prints; without, that is logged.
        arguments_of_airflow: Those of `CommandOperator`.
    """

    template_fields: ClassVar[Sequence[str]] = ("arguments",)

    def __init__(self, *, arguments: Sequence[str], **arguments_of_airflow: Any) -> None:
        super().__init__(**arguments_of_airflow)
        self.arguments = arguments

    def words(self) -> list[str]:
        """Return the arguments."""
        return command_words(self.arguments)


class JobOperator(CommandOperator):
    """Base of the operators that rerank: the options of a run, and the rejects.

    Args:
        on_rejects: What to do if more candidates were rejected than `max_rejects` allows: `fail`,
            and ask again for these alone when the task is retried, or `warn` and succeed.
        options: Those of `rerank run`, with the same names and defaults; `lock_wait` is 90 s. The
            rest are those of `CommandOperator`.
    """

    template_fields: ClassVar[Sequence[str]] = ("options",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"options": "json"}

    @takes_options
    def __init__(self, *, on_rejects: OnRejects = "fail", **options: Any) -> None:
        given, of_airflow = split_options(options)
        refuse_misspelt(of_airflow, _ARGUMENTS_OF_AIRFLOW)
        super().__init__(**of_airflow)
        if on_rejects not in ("fail", "warn"):
            raise ValueError(f"on_rejects: found {on_rejects!r}, expected 'fail' or 'warn'")
        if self.rerank_conn_id is not None and "api_key_env" in given:
            raise ValueError("rerank_conn_id and api_key_env both name the key; give one of them")
        self.on_rejects = on_rejects
        self.options = given

    @property
    def allows_rejects(self) -> bool:
        """Whether the task succeeds although too many candidates were rejected."""
        return self.on_rejects == "warn"


class RerankOperator(JobOperator):
    """Reranks the candidates of a file, a folder or an address: `rerank run`.

    A task that is retried goes on where the last try stopped. Its XCom is the `run --json` object.

    Args:
        input_path: The candidates.
        output_path: The folder or address to write to.
        options: Those of `JobOperator`.
    """

    template_fields: ClassVar[Sequence[str]] = ("input_path", "output_path", "options")

    @takes_options
    def __init__(self, *, input_path: str, output_path: str, **options: Any) -> None:
        super().__init__(**options)
        self.input_path = input_path
        self.output_path = output_path

    def words(self) -> list[str]:
        """Return the words of `rerank run`."""
        has_key = self.rerank_conn_id is not None
        return run_words(self.input_path, self.output_path, self.options, has_key=has_key)


class RerankBackfillOperator(JobOperator):
    """Reranks every partition in a range, in one process with one quota: `rerank backfill`.

    Its XCom is the `backfill --json` object with `partitions` counted by state; `not_done` names up
    to 20 of those that are not done.

    Args:
        input_root: Folder or address that holds the partitions `KEY=VALUE/`.
        output_root: Where their outputs go.
        first: The first partition, `--from` of the command.
        last: The last one, included, `--to` of the command.
        partition_key: Key of the partitions.
        order: `oldest` or `newest` first.
        options: Those of `JobOperator`.
    """

    template_fields: ClassVar[Sequence[str]] = (
        *("input_root", "output_root"),
        *("first", "last", "options"),
    )

    @takes_options
    def __init__(
        self,
        *,
        input_root: str,
        output_root: str,
        first: str,
        last: str,
        partition_key: str = "dt",
        order: Literal["oldest", "newest"] = "oldest",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if refused := RUN_ONLY & self.options.keys():
            raise TypeError(
                f"no option of a backfill: {min(refused)}; map a RerankOperator instead"
            )
        self.input_root = input_root
        self.output_root = output_root
        self.first = first
        self.last = last
        self.partition_key = partition_key
        self.order = order

    def words(self) -> list[str]:
        """Return the words of `rerank backfill`."""
        return backfill_words(
            self.input_root,
            self.output_root,
            {
                "from": self.first,
                "to": self.last,
                "partition_key": self.partition_key,
                "order": self.order,
            },
            self.options,
            has_key=self.rerank_conn_id is not None,
        )


def _password(conn_id: str) -> str:
    """Return the password of a connection, which Airflow then masks in its logs."""
    try:
        from airflow.sdk import BaseHook
    except ImportError:  # Airflow 2
        from airflow.hooks.base import BaseHook

    password: str | None = BaseHook.get_connection(conn_id).password
    if not password:
        text = f"connection {conn_id} has no password; store the key there"
        raise TaskFailed(text, may_pass=False)
    return password
