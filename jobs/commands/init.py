"""`rerank init`: write a commented configuration file."""

import os
from pathlib import Path

import click

from jobs.commands.run import run
from jobs.console.printing import emit
from jobs.options.command import Command
from jobs.options.config_file import CONFIG_NAME
from jobs.options.config_template import config_template
from pipeline.core.errors import SettingsError


@click.command(cls=Command, examples=("rerank init", "rerank init team/night.toml"))
@click.argument("file", default=CONFIG_NAME)
def init(file: str) -> None:
    """Write a commented FILE with every option of `rerank run` and its default.

    FILE is rerank.toml unless another one is named. All commands read a rerank.toml of the working
    folder by themselves, and another file with --config FILE. A file that exists is not replaced.
    """
    from pipeline.storage.nameless_file import writing_file

    place = Path(file)
    if os.path.lexists(place):  # a broken link too
        raise SettingsError(
            "exists already", which=file, cure="name another FILE, or remove it first"
        )
    try:
        with writing_file(place, place.with_name(f".{place.name}.unfinished")) as written:
            written.write(config_template(run).encode())
    except OSError as error:
        raise SettingsError(f"cannot be written: {error.strerror}", which=file) from error
    emit(f"{file} written: every option of `rerank run`, as a comment with its default")
