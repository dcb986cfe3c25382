"""The settings that the options of a command make, and the key that they name."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pipeline.core.errors import SettingsError
from pipeline.core.providers import find_provider
from pipeline.core.settings import Pace, RunSettings


def make_settings(options: Mapping[str, Any], *, url: str | None = None) -> RunSettings:
    """The settings that the options ask for.

    Args:
        options: The values of `settings_options`, and of the run's own options where given.
        url: Address of a service that was started for this run.

    Raises:
        SettingsError: for settings that contradict each other or would be ignored.
    """
    provider = find_provider(options["provider"])
    profile = provider.profile(options["model"] or provider.default_model)
    limits = ("max_documents", "max_tokens_per_document", "max_tokens_per_request")
    profile = profile.with_limits(
        **{name: options[name] for name in limits if options[name] is not None}
    )
    address = options["url"] or url or provider.url
    if address is None:
        raise SettingsError(
            f"provider {provider.name} has no address of its own", which="--url", cure="give one"
        )
    _refuse_unusable_url(address)
    own = ("lock_wait", "restart", "score_store", "reuse")
    return RunSettings(
        provider=provider,
        profile=profile,
        url=address,
        pace=Pace(
            requests_per_minute=options["requests_per_minute"] or profile.requests_per_minute,
            tokens_per_minute=options["tokens_per_minute"] or profile.tokens_per_minute,
            max_in_flight=options["max_in_flight"],
            max_documents_in_flight=options["max_documents_in_flight"],
        ),
        max_outage_s=60 * options["max_outage"],
        max_cost_usd=options["max_cost"],
        columns=_columns(options["columns"]),
        lock_wait_s=options.get("lock_wait", 0.0),
        **{
            name: options[name]
            for name in (
                *("instruct", "top_n", "max_attempts", "max_rejects", "merge", "certify_depth"),
                *("long_documents", "duplicates", "layout", "with_text", "groups_per_part"),
                *(name for name in own[1:] if name in options),
            )
        },
    )


def read_api_key(options: Mapping[str, Any]) -> str | None:
    """The key, from the environment; None for a provider that takes none.

    Raises:
        SettingsError: if the provider needs a key and there is none.
    """
    provider = find_provider(options["provider"])
    variable = options["api_key_env"] or provider.api_key_env
    if variable is None:
        # The offline service takes any key, as long as there is one.
        return "offline" if provider.name == "emulator" else None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SettingsError(
            "no API key",
            which=variable,
            cure=f"export {variable}=... or name another variable with --api-key-env",
        )
    return key


def _refuse_unusable_url(url: str) -> None:
    """What `RunSettings` does not look for: a key in an address would come into messages."""
    try:
        parts = urlsplit(url)
        has_host, has_user = bool(parts.hostname), parts.username is not None
    except ValueError:
        has_host, has_user = False, "@" in url
    if has_user:
        raise SettingsError(
            "holds a user or a password", which="--url", cure="use --api-key-env instead"
        )
    if url.startswith(("http://", "https://")) and not has_host:
        raise SettingsError(
            "not a web address", which="--url", found=url, expected="http(s)://HOST/..."
        )


def _columns(pairs: tuple[str, ...]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, source = pair.partition("=")
        if not (name and equals and source) or name in columns:
            raise SettingsError(
                "cannot be used",
                which="--column",
                found=pair,
                expected="NAME=SOURCE, each NAME once",
            )
        columns[name] = source
    return columns
