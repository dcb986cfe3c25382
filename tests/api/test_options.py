"""The options of the library are those of the command, with the same defaults."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.commands.run import run
from jobs.options.settings import run_options
from pipeline.api.options import RunOptions
from pipeline.core.errors import SettingsError

NOT_OF_THE_LIBRARY = {
    *("input_name", "output_name", "progress", "log_format", "log_file", "quiet", "verbose"),
    *("as_json", "metrics_file", "dask"),
}
"""What the command shows, and where it finds its options."""


def test_every_option_of_the_command_is_one_of_the_library_with_its_default() -> None:
    parsed = run.make_context("run", ["in.parquet", "out"]).params
    of_command = {name: parsed[name] for name in parsed if name not in NOT_OF_THE_LIBRARY}
    of_library = {name: getattr(RunOptions(), name) for name in RunOptions.__struct_fields__}

    assert of_command.pop("columns") == ()
    assert of_library.pop("columns") == {}
    assert of_command == of_library


def test_pairs_of_columns_become_a_mapping() -> None:
    assert run_options({"columns": ("text=passage",)}).columns == {"text": "passage"}


def test_every_option_has_a_type() -> None:
    assert set(inspect.get_annotations(RunOptions)) == set(RunOptions.__struct_fields__)


def test_a_limit_of_the_cost_needs_a_price() -> None:
    with pytest.raises(SettingsError, match=r"--max-cost: no price of jina-reranker-v3 is known"):
        RunOptions(provider="jina", max_cost=1.0).settings()

    assert RunOptions(provider="vllm", model="m", max_cost=1.0).settings().max_cost_usd == 1.0
    assert RunOptions(provider="cohere", max_cost=1.0).settings().max_cost_usd == 1.0
    assert RunOptions(provider="voyage", max_cost=1.0).settings().max_cost_usd == 1.0


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("duplicates", "last", "['keep', 'first']"),
        ("merge", "never", "['auto', 'trust']"),
        ("reuse", "all", "['exact', 'partial']"),
        ("restart", "false", "True or False"),
        ("top_n", 2.5, "a whole number"),
        ("top_n", True, "a whole number"),
        ("groups_per_part", "2", "a whole number"),
        ("max_cost", "20", "a number"),
        ("provider", None, "text"),
        ("columns", ["text=passage"], "a mapping of names"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(name: str, value: Any, expected: str) -> None:
    with pytest.raises(SettingsError) as error:
        RunOptions.of({name: value})

    message = f"{name}: not a value of this option (found {value!r}, expected {expected})"
    assert str(error.value) == message


def test_numbers_may_be_those_of_numpy_and_places_may_be_paths() -> None:
    options = RunOptions.of({"top_n": np.int64(5), "score_store": Path("a", "b"), "max_cost": 20})

    assert options == RunOptions(top_n=5, score_store="a/b", max_cost=20.0)
    assert type(options.top_n) is int


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("requests_per_minute", "--requests-per-minute"),
        ("tokens_per_minute", "--tokens-per-minute"),
        ("max_documents_in_flight", "--max-documents-in-flight"),
        ("timeout", "--timeout"),
    ],
)
def test_a_limit_of_nothing_is_refused_not_taken_for_no_limit(name: str, option: str) -> None:
    with pytest.raises(SettingsError, match=f"{option}: impossible"):
        RunOptions.of({"provider": "emulator", "url": "http://x", name: 0}).settings()
