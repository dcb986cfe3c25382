"""The options of the commands that rerank, and the settings that they make.

Values come from the command line, then from RERANK_<COMMAND>_<OPTION>, then from --config.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from jobs.config_file import config_option
from pipeline.errors import SettingsError
from pipeline.providers import PROVIDERS, find_provider
from pipeline.settings import Pace, RunSettings

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_MAX_IN_FLIGHT = 128


_positive = click.IntRange(min=1)
_positive_number = click.FloatRange(min=0, min_open=True)

_SETTINGS_OPTIONS = (
    click.option(
        "--provider",
        type=click.Choice(list(PROVIDERS)),
        default="dashscope",
        show_default=True,
        help="Preset of wire format, address, key variable and default model.",
    ),
    click.option("--model", help="Model to ask. [default: the provider's]"),
    click.option("--url", help="Full address of the endpoint. [default: the provider's]"),
    click.option(
        "--api-key-env",
        help="Environment variable that holds the key. [default: the provider's]",
    ),
    click.option("--instruct", help="Instruction for the model, in English."),
    click.option("--top-n", type=_positive, help="Keep this many candidates of each query."),
    click.option(
        "--requests-per-minute",
        type=_positive_number,
        help="Quota of requests. [default: the model's]",
    ),
    click.option(
        "--tokens-per-minute", type=_positive_number, help="Quota of tokens. [default: the model's]"
    ),
    click.option(
        "--max-in-flight",
        type=_positive,
        default=DEFAULT_MAX_IN_FLIGHT,
        show_default=True,
        help="Requests that wait for an answer at once.",
    ),
    click.option(
        "--max-documents-in-flight",
        type=_positive,
        help="Documents in those requests. [default: no bound]",
    ),
    click.option(
        "--max-attempts",
        type=_positive,
        default=5,
        show_default=True,
        help="Attempts for one request before it is given up.",
    ),
    click.option(
        "--max-outage",
        type=_positive_number,
        default=10.0,
        show_default=True,
        help="Minutes without any success before the run ends.",
    ),
    click.option(
        "--max-cost", type=_positive_number, help="US dollars that the run may cost; never more."
    ),
    click.option(
        "--max-rejects",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Candidates without a score that the run may end with.",
    ),
    click.option(
        "--max-documents", type=_positive, help="Documents in one request. [default: the model's]"
    ),
    click.option(
        "--max-tokens-per-document",
        type=_positive,
        help="Tokens of one document; the rest is cut. [default: the model's]",
    ),
    click.option(
        "--max-tokens-per-request",
        type=_positive,
        help="Tokens of one request. [default: the model's]",
    ),
    click.option(
        "--merge",
        type=click.Choice(["auto", "trust"]),
        default="auto",
        show_default=True,
        help="Test whether scores of several requests compare, or trust that they do.",
    ),
    click.option(
        "--certify-depth",
        type=_positive,
        help="Places that a final request settles. [default: top-n, else 100]",
    ),
    click.option(
        "--long-documents",
        type=click.Choice(["truncate", "max-passage"]),
        default="truncate",
        show_default=True,
        help="Cut documents over the token limit, or score their passages and take the best.",
    ),
    click.option(
        "--duplicates",
        type=click.Choice(["keep", "first"]),
        default="keep",
        show_default=True,
        help="What to do with a doc_id that a query holds twice.",
    ),
    click.option(
        "--layout",
        type=click.Choice(["auto", "long"]),
        default="auto",
        show_default=True,
        help="Layout of the input: long is one row per candidate.",
    ),
    click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="NAME=SOURCE",
        help="Read our column NAME from the input's column SOURCE; repeatable.",
    ),
    click.option("--with-text", is_flag=True, help="Write query and text to the output too."),
    click.option(
        "--groups-per-part",
        type=_positive,
        default=1_000,
        show_default=True,
        help="Queries in one output file.",
    ),
)


def settings_options(command: Command) -> Command:
    """Add the options that `make_settings` takes."""
    for option in reversed(_SETTINGS_OPTIONS):
        command = option(command)
    return config_option(command)


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
