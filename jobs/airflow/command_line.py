"""The command line of a task, and the environment in which it runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from jobs.airflow.options import FLAGS
from jobs.airflow.outcomes import TaskFailed

KEY_VARIABLE: Final = "RERANK_API_KEY"
"""The variable of the command's environment that holds the key of a connection."""

LOCK_WAIT_S: Final = 90
"""The default of `lock_wait` here. When a task is killed, its run ends within 5 s; the lock of an
object store may last for 60 s more."""

_AIRFLOWS_OWN: Final = ("AIRFLOW_", "_AIRFLOW")
"""Prefix of variables that are not passed on: Airflow's settings, connections and secrets."""

_TRUTHS: Final = {"true": True, "false": False}


def run_words(
    input_path: str, output_path: str, options: Mapping[str, Any], *, has_key: bool
) -> list[str]:
    """Return the words of `rerank run`.

    Args:
        input_path: INPUT.
        output_path: OUTPUT.
        options: Of the run.
        has_key: Whether `KEY_VARIABLE` holds the key.

    Raises:
        TaskFailed: for a value that no option takes.
    """
    return ["run", *_job_words(options, has_key=has_key), "--", str(input_path), str(output_path)]


def backfill_words(
    input_root: str,
    output_root: str,
    partitions: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    has_key: bool,
) -> list[str]:
    """Return the words of `rerank backfill`.

    Args:
        input_root: INPUT_ROOT.
        output_root: OUTPUT_ROOT.
        partitions: Which ones, as options of the command: `from`, `to`, `partition_key`, `order`.
        options: Of the runs.
        has_key: Whether `KEY_VARIABLE` holds the key.

    Raises:
        TaskFailed: for a value that no option takes.
    """
    words = [*_option_words(partitions), *_job_words(options, has_key=has_key)]
    return ["backfill", *words, "--", str(input_root), str(output_root)]


def command_words(arguments: Any) -> list[str]:
    """Return the words of any command.

    Raises:
        TaskFailed: if the arguments are not a list of at least one word.
    """
    if not isinstance(arguments, Sequence) or isinstance(arguments, str) or not arguments:
        raise _refused("arguments", arguments, "a list of words")
    return [str(argument) for argument in arguments]


def child_environment(
    own: Mapping[str, str], command: str, secrets: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a command.

    Args:
        own: Of this process.
        command: The first word of the command.
        secrets: Variables to add, such as a key.
    """
    return {
        **{name: value for name, value in own.items() if not name.startswith(_AIRFLOWS_OWN)},
        # Of the command, and of `run`, by which every command decides how to tell its failure.
        f"RERANK_{command.upper()}_LOG_FORMAT": "json",
        "RERANK_RUN_LOG_FORMAT": "json",
        **secrets,
    }


def _job_words(options: Mapping[str, Any], *, has_key: bool) -> Iterator[str]:
    yield from ("--json", "--log-format=json")
    if "config" not in options:  # what lies in the worker's folder must not change a task
        yield "--no-config"
    yield from _option_words({"lock_wait": LOCK_WAIT_S, **options})
    if has_key:
        yield f"--api-key-env={KEY_VARIABLE}"


def _option_words(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if name == "columns":
            yield from (f"--column={role}={source}" for role, source in _pairs(value))
        elif name in FLAGS:
            if _truth(name, value):
                yield option
        elif value != "":  # as a template may render it
            yield f"{option}={value}"


def _pairs(columns: Any) -> Iterable[tuple[str, str]]:
    if not isinstance(columns, Mapping):
        raise _refused("columns", columns, "a mapping of name to source")
    return columns.items()


def _truth(name: str, value: Any) -> bool:
    """Return a flag, which a template renders as text."""
    truth = value if isinstance(value, bool) else _TRUTHS.get(str(value).strip().lower())
    if truth is None:
        raise _refused(name, value, "true or false")
    return truth


def _refused(name: str, value: Any, expected: str) -> TaskFailed:
    return TaskFailed(f"{name}: found {value!r}, expected {expected}", may_pass=False)
