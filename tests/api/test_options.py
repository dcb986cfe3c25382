"""The options of the library are those of the command, with the same defaults."""

import inspect

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
