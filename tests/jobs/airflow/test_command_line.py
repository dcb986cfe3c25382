"""The command line of a task: what the operator was given is what the command understands."""

from typing import Any

import pytest
from support.real_runs import end, environment, start

from jobs.airflow.command_line import (
    KEY_VARIABLE,
    backfill_words,
    child_environment,
    command_words,
    run_words,
)
from jobs.airflow.outcomes import TaskFailed
from jobs.commands.backfill import backfill
from jobs.commands.run import run
from jobs.options.settings import run_options
from pipeline.api.options import RunOptions

GIVEN: dict[str, Any] = {
    "provider": "vllm",
    "model": "-a model",
    "url": "http://127.0.0.1:1/rerank",
    "timeout": 12.5,
    "top_n": 10,
    "max_cost": 3,
    "columns": {"text": "passage", "query": "q=1"},
    "with_text": True,
    "restart": False,
    "lock_wait": 7.0,
    "text_template": "{title}\n{text}",
}


def parsed(words: list[str]) -> dict[str, Any]:
    command = {"run": run, "backfill": backfill}[words[0]]
    return command.make_context(words[0], words[1:]).params


def test_the_command_gets_every_option_as_it_was_given() -> None:
    params = parsed(run_words("-in", "out put", GIVEN, has_key=False))

    assert run_options(params) == RunOptions(**GIVEN)
    assert (params["input_name"], params["output_name"]) == ("-in", "out put")
    assert (params["as_json"], params["log_format"]) == (True, "json")


def test_a_backfill_also_gets_its_range() -> None:
    partitions = {
        "from": "2026-01-01",
        "to": "2026-01-31",
        "partition_key": "day",
        "order": "newest",
    }
    params = parsed(backfill_words("in", "out", partitions, GIVEN, has_key=False))

    assert run_options(params) == RunOptions(**GIVEN)
    assert [params[name] for name in ("first", "last", "partition_key", "order")] == [
        "2026-01-01",
        "2026-01-31",
        "day",
        "newest",
    ]
    assert (params["input_root"], params["output_root"], params["dry_run"]) == ("in", "out", False)


def test_a_file_of_options_is_read_only_if_it_is_named() -> None:
    assert "--no-config" in run_words("in", "out", {}, has_key=False)
    named = run_words("in", "out", {"config": "/etc/rerank.toml"}, has_key=False)
    assert "--config=/etc/rerank.toml" in named
    assert "--no-config" not in named


def test_the_run_of_a_retried_task_waits_for_the_one_that_was_killed() -> None:
    assert parsed(run_words("in", "out", {}, has_key=False))["lock_wait"] == 90
    assert parsed(run_words("in", "out", {"lock_wait": 0}, has_key=False))["lock_wait"] == 0


@pytest.mark.parametrize(("value", "flag"), [("True", True), (" false", False), ("TRUE", True)])
def test_a_flag_may_be_what_a_template_renders(value: str, flag: bool) -> None:
    words = run_words("in", "out", {"with_text": value}, has_key=False)

    assert parsed(words)["with_text"] is flag


def test_an_option_that_a_template_renders_to_nothing_is_not_given() -> None:
    assert parsed(run_words("in", "out", {"url": ""}, has_key=False))["url"] is None


@pytest.mark.parametrize("options", [{"with_text": "yes"}, {"restart": 1}, {"columns": "a=b"}])
def test_a_value_that_cannot_be_is_refused_and_not_retried(options: dict[str, Any]) -> None:
    with pytest.raises(TaskFailed, match="expected") as refused:
        run_words("in", "out", options, has_key=False)

    assert not refused.value.may_pass


def test_the_key_is_named_by_its_variable_alone() -> None:
    assert parsed(run_words("in", "out", {}, has_key=True))["api_key_env"] == KEY_VARIABLE
    assert parsed(run_words("in", "out", {}, has_key=False))["api_key_env"] is None


@pytest.mark.parametrize("arguments", ["plan in", [], None, 3])
def test_the_arguments_of_a_command_are_a_list_of_words(arguments: object) -> None:
    with pytest.raises(TaskFailed, match="expected a list of words"):
        command_words(arguments)


def test_words_may_be_what_is_no_text() -> None:
    assert command_words(("plan", "in", "--top-n", 3)) == ["plan", "in", "--top-n", "3"]


def test_a_command_does_not_see_the_secrets_of_airflow() -> None:
    own = {
        "PATH": "/bin",
        "AWS_PROFILE": "p",
        "AIRFLOW_CONN_DB": "postgresql://u:secret@h/d",
        "AIRFLOW__CORE__FERNET_KEY": "secret",
        "_AIRFLOW__SKIP": "1",
    }

    found = child_environment(own, "plan", {KEY_VARIABLE: "k"})

    assert {name: found.pop(name) for name in ("PATH", "AWS_PROFILE", KEY_VARIABLE)} == {
        "PATH": "/bin",
        "AWS_PROFILE": "p",
        KEY_VARIABLE: "k",
    }
    assert all(name.endswith("_LOG_FORMAT") for name in found)


@pytest.mark.parametrize(
    "words",
    [
        ("run", "no.parquet", "out", "--provider", "emulator"),
        ("load", "no", "--to", "duckdb:///x.duckdb"),
        ("evaluate", "no", "--qrels", "no.parquet"),
        ("plan", "no.parquet"),
        ("plan", "no.parquet", "--topn", "3"),
        ("no-such-command",),
    ],
)
def test_every_command_tells_its_failure_as_json(words: tuple[str, ...]) -> None:
    env = child_environment(environment(), words[0], {})

    ended = end(start(*words, env=env))

    assert ended.code in (2, 3), ended.err
    assert '"event":"failed"' in ended.err.splitlines()[-1]
