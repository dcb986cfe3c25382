"""Settings of a run, made from the options of a command."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from jobs.options.prepare_options import make_columns, make_preparation
from pipeline.core import environment
from pipeline.core.errors import SettingsError
from pipeline.core.models import ModelProfile
from pipeline.core.providers import find_provider
from pipeline.core.settings import Pace, RunSettings

_LIMITS = ("max_documents", "max_tokens_per_document", "max_tokens_per_request")
_SAME_NAME = (
    *("instruct", "top_n", "max_attempts", "max_rejects", "merge", "certify_depth"),
    *("long_documents", "duplicates", "layout", "limit", "with_text", "groups_per_part"),
)
"""Options whose settings have the same name and unit."""
_OF_RUN_ALONE = ("restart", "score_store", "reuse")
"""The same, of `run` but not of `plan`."""


def make_settings(options: Mapping[str, Any], *, url: str | None = None) -> RunSettings:
    """Return the settings that the options ask for.

    Args:
        options: The values of `settings_options`, and of the options of `run` alone where given.
        url: The address of the service unless `--url` is given; by default the provider's.

    Raises:
        SettingsError: for settings that contradict each other or would be ignored.
    """
    provider, profile = find_provider(options["provider"]), model_profile(options)
    return RunSettings(
        provider=provider,
        profile=profile,
        url=service_url(options, url),
        pace=Pace(
            requests_per_minute=options["requests_per_minute"] or profile.requests_per_minute,
            tokens_per_minute=options["tokens_per_minute"] or profile.tokens_per_minute,
            max_in_flight=options["max_in_flight"],
            max_documents_in_flight=options["max_documents_in_flight"]
            or provider.max_documents_in_flight,
        ),
        max_outage_s=None if options["max_outage"] is None else 60 * options["max_outage"],
        timeout_s=options["timeout"],
        max_cost_usd=options["max_cost"],
        columns=make_columns(options["columns"]),
        preparation=make_preparation(options),
        lock_wait_s=options.get("lock_wait", 0.0),
        **{name: options[name] for name in _SAME_NAME},
        **{name: options[name] for name in _OF_RUN_ALONE if name in options},
    )


def model_profile(options: Mapping[str, Any]) -> ModelProfile:
    """Return the profile of the model that the options name, with the limits that they set.

    Raises:
        SettingsError: for limits that contradict each other.
    """
    provider = find_provider(options["provider"])
    profile = provider.profile(options["model"])
    return profile.with_limits(
        **{name: options[name] for name in _LIMITS if options[name] is not None}
    )


def service_url(options: Mapping[str, Any], default: str | None = None) -> str:
    """Return the address of the service: `--url`, else `default`, else the provider's own.

    Raises:
        SettingsError: if there is none, or if it is no web address, or holds a user or a password,
            which messages would show.
    """
    provider = find_provider(options["provider"])
    url: str | None = options["url"] or default or provider.url
    if url is None:
        raise SettingsError(
            f"provider {provider.name} has no address of its own", which="--url", cure="give one"
        )
    try:
        parts = urlsplit(url)
        is_usable = bool(parts.hostname) and parts.port != 0
        is_usable = is_usable and parts.scheme in ("http", "https")
        has_user = parts.username is not None
    except ValueError:
        is_usable = has_user = False
    if has_user or (not is_usable and "@" in url):  # what cannot be parsed may hold a password
        raise SettingsError(
            "holds a user or a password", which="--url", cure="use --api-key-env instead"
        )
    if not is_usable:
        raise SettingsError(
            "not a web address", which="--url", found=url, expected="http(s)://HOST[:PORT]/..."
        )
    return url


def read_api_key(options: Mapping[str, Any]) -> str | None:
    """Return the key that `--provider` and `--api-key-env` name; None if none is needed.

    Raises:
        SettingsError: if a key is needed and the variable is unset or blank.
    """
    return environment.read_api_key(find_provider(options["provider"]), options["api_key_env"])
