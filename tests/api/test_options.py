"""The options of the library are those of the command, with the same defaults."""

import inspect

from jobs.commands.run import run
from jobs.options.settings import run_options
from pipeline.api.options import RunOptions

NOT_OF_THE_LIBRARY = {"input_name", "output_name", "progress", "log_format", "as_json", "config"}
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
