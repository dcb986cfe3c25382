"""Settings of a run, made from the options of a command."""

from collections.abc import Mapping
from typing import Any

from jobs.options.prepare_options import make_columns
from pipeline.api.options import RunOptions
from pipeline.core.models import ModelProfile
from pipeline.core.settings import RunSettings


def run_options(options: Mapping[str, Any]) -> RunOptions:
    """Return a command's options as those of the library, without options of the command only.

    Raises:
        SettingsError: for pairs of `--column` that cannot be used.
    """
    shared = {name: options[name] for name in RunOptions.__struct_fields__ if name in options}
    return RunOptions(**{**shared, "columns": make_columns(options.get("columns", ()))})


def make_settings(options: Mapping[str, Any], *, url: str | None = None) -> RunSettings:
    """Return the settings that the options ask for; see `RunOptions.settings`."""
    return run_options(options).settings(url=url)


def model_profile(options: Mapping[str, Any]) -> ModelProfile:
    """Return the profile of the model that the options name, with the limits that they set."""
    return run_options(options).profile


def service_url(options: Mapping[str, Any], default: str | None = None) -> str:
    """Return the address of the service; see `RunOptions.address`."""
    return run_options(options).address(default)


def read_api_key(options: Mapping[str, Any]) -> str | None:
    """Return the key that `--provider` and `--api-key-env` name; see `RunOptions.api_key`."""
    return run_options(options).api_key()
