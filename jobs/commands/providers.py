"""`rerank providers`: the presets of rerank services."""

from collections.abc import Iterator
from typing import Any

import click

from jobs.console.printing import emit, emit_json, json_option
from jobs.options.command import Command
from pipeline.core.models import UNLIMITED_TOKENS, ModelProfile
from pipeline.core.provider import Provider
from pipeline.core.providers import PROVIDERS


@click.command(
    cls=Command,
    examples=(
        "rerank providers",
        "rerank providers --json",
    ),
)
@json_option
def providers(as_json: bool) -> None:
    """List the presets that --provider takes: address, key, models, limits, prices and quotas.

    What no page publishes is left out. Every value can be set by an option of `run`.
    """
    if as_json:
        emit_json({"providers": [_facts(provider) for provider in PROVIDERS.values()]})
        return
    for number, provider in enumerate(PROVIDERS.values()):
        for line in _lines(provider, is_first=not number):
            emit(line)


def _facts(provider: Provider) -> dict[str, Any]:
    return {
        "provider": provider.name,
        "url": provider.url,
        "api_key_env": provider.api_key_env,
        "requires_key": provider.requires_key and provider.api_key_env is not None,
        "wire_format": provider.wire_format,
        "default_model": provider.default_model,
        "models": [
            {
                "model": name,
                "max_documents": profile.max_documents,
                "max_tokens_per_document": profile.max_tokens_per_document,
                "max_tokens_per_request": _limited(profile),
                "usd_per_million_tokens": profile.usd_per_million_tokens or None,
                "usd_per_million_image_tokens": profile.usd_per_million_image_tokens,
                "usd_per_thousand_searches": profile.usd_per_thousand_searches or None,
                "requests_per_minute": profile.requests_per_minute,
                "tokens_per_minute": profile.tokens_per_minute,
                "languages": profile.languages or None,
                "takes_instruct": profile.takes_instruct,
                "listwise": profile.listwise,
            }
            for name in provider.published
            for profile in [provider.profile(name)]
        ],
        "free_quota": provider.free_quota or None,
        "source": provider.source,
        "read": "2026-11",
    }


def _lines(provider: Provider, *, is_first: bool) -> Iterator[str]:
    if not is_first:
        yield ""
    yield f"{provider.name}  {provider.url or 'give --url'}"
    if provider.api_key_env is not None:
        yield f"  key in {provider.api_key_env}" + ("" if provider.requires_key else ", if any")
    if not provider.published:
        yield f"  any model; default {provider.default_model or 'none: give --model'}"
        yield "  " + _limits(provider.limits)
    for name in provider.published:
        profile = provider.profile(name)
        is_default = " (default)" if name == provider.default_model else ""
        yield f"  {name}{is_default}: {_limits(profile)}"
    if provider.free_quota:
        yield f"  free: {provider.free_quota}"
    yield f"  source: {provider.source} (2026-11)"


def _limits(profile: ModelProfile) -> str:
    """Return a model's limits, price and quota in one line."""
    tokens = _limited(profile)
    parts = [
        f"{profile.max_documents:,} documents of {profile.max_tokens_per_document:,} tokens",
        tokens and f"{tokens:,} tokens a request",
        profile.usd_per_million_tokens and f"${profile.usd_per_million_tokens:g} a million tokens",
        profile.usd_per_million_image_tokens
        and f"${profile.usd_per_million_image_tokens:g} a million of images",
        profile.usd_per_thousand_searches
        and f"${profile.usd_per_thousand_searches:g} a thousand searches",
        profile.requests_per_minute and f"{profile.requests_per_minute:,.0f} requests/min",
        profile.tokens_per_minute and f"{profile.tokens_per_minute:,.0f} tokens/min",
        profile.languages and f"{profile.languages} languages",
        profile.listwise and "listwise",
    ]
    return ", ".join(str(part) for part in parts if part)


def _limited(profile: ModelProfile) -> int | None:
    tokens = profile.max_tokens_per_request
    return None if tokens >= UNLIMITED_TOKENS else tokens
