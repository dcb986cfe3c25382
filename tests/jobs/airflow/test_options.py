"""The options of an operator are those of the command, known without importing it."""

import inspect
import subprocess
import sys
from typing import Any

import click
import pytest
from support.real_runs import ROOT

from jobs.airflow.options import (
    FLAGS,
    RUN_ONLY,
    RUN_OPTIONS,
    refuse_misspelt,
    split_options,
    takes_options,
)
from jobs.commands.backfill import backfill
from jobs.commands.run import run
from pipeline.api.options import RunOptions

LONGEST_IMPORT_S = 0.05

OF_THE_OPERATOR = {"progress", "log_format", "log_file", "quiet", "verbose", "as_json", "no_config"}
"""Options of the command on its log and result, which the task takes, and on a file by chance."""

COMMAND_ONLY = {"config", "dask", "metrics_file"}
"""Options of the command, and so of the operator, that the library does not have."""

IMPORT = f"""
import inspect, json, logging, shlex, subprocess, tempfile  # which Airflow imports itself
import sys, time
sys.path.append({str(ROOT)!r})
begun = time.process_time()
import jobs.airflow, jobs.airflow.command_line, jobs.airflow.task
print(time.process_time() - begun)
"""


def options_of_the_command(command: click.Command = run) -> dict[str, click.Option]:
    return {
        option.name or "": option
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    }


def test_every_option_of_a_run_is_one_of_the_operator() -> None:
    assert set(RUN_OPTIONS) == set(RunOptions.__struct_fields__) | COMMAND_ONLY
    assert set(RUN_OPTIONS) == options_of_the_command().keys() - OF_THE_OPERATOR


def test_the_options_that_a_backfill_lacks_are_known() -> None:
    assert RUN_ONLY == set(RUN_OPTIONS) - options_of_the_command(backfill).keys()


def test_every_flag_of_the_command_is_known_as_one() -> None:
    options = options_of_the_command()

    assert {name for name in RUN_OPTIONS if options[name].is_flag} == FLAGS
    assert {name for name in RUN_OPTIONS if options[name].multiple} == {"columns"}


def test_the_name_of_every_option_is_that_of_the_command_line() -> None:
    names = {
        name: max(option.opts, key=len)[2:] for name, option in options_of_the_command().items()
    }

    for name in RUN_OPTIONS:
        assert names[name].replace("-", "_") == name.removesuffix("s" * (name == "columns"))


def test_parsing_a_dag_imports_the_standard_library_alone_and_little_of_it() -> None:
    """So Airflow needs nothing that the project installs; -S leaves out what is installed."""
    command = [sys.executable, "-I", "-S", "-c", IMPORT]

    took_s = [float(subprocess.check_output(command)) for _ in range(5)]

    assert min(took_s) < LONGEST_IMPORT_S


def test_a_signature_names_the_options() -> None:
    @takes_options
    def init(self: object, *, path: str, **rest: Any) -> None:
        """Do nothing."""

    assert list(inspect.signature(init).parameters) == ["self", "path", *RUN_OPTIONS, "rest"]


def test_what_is_given_is_split_from_what_is_for_airflow() -> None:
    arguments = {"top_n": 10, "model": None, "task_id": "t", "with_text": False}

    assert split_options(arguments) == ({"top_n": 10, "with_text": False}, {"task_id": "t"})


def test_a_misspelt_option_is_refused_with_the_one_that_may_be_meant() -> None:
    with pytest.raises(TypeError, match=r"no such option: topn; did you mean top_n\?"):
        refuse_misspelt(["task_id", "topn"], {"task_id", "pool"})


def test_other_unknown_names_are_for_airflow_to_judge() -> None:
    refuse_misspelt(["task_id", "time_out", "no_such_thing_at_all"], {"task_id", "time_out"})
