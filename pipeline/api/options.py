"""The options of a run, named and defaulted once, for Python and for the command line."""

from collections.abc import Mapping
from difflib import get_close_matches
from os import PathLike
from typing import Any, Final, Literal, Self, TypeVar, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from pipeline.core import environment
from pipeline.core.errors import SettingsError
from pipeline.core.models import ModelProfile
from pipeline.core.preparation import PLAIN_TEMPLATE, OnMissing, Preparation
from pipeline.core.provider import Provider
from pipeline.core.providers import find_provider
from pipeline.core.settings import DEFAULT_TIMEOUT_S, LayoutName, Pace, RunSettings
from pipeline.core.shard import Shard

_SAME_NAME = (
    *("instruct", "fps", "top_n", "max_attempts", "max_rejects", "merge", "certify_depth"),
    *("long_documents", "duplicates", "layout", "limit", "with_text", "groups_per_part"),
    *("restart", "score_store", "reuse", "quota", "quota_token_env"),
)
"""Options whose settings have the same name and unit."""


Number = TypeVar("Number", int, float)

_KIND_NAMES: Final[dict[Any, str]] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    Mapping[str, str]: "a mapping of names",
}


class RunOptions(Struct, frozen=True, kw_only=True):
    """The options of `rerank run` with their defaults; see `rerank run --help`.

    Quotas are per minute, `timeout` and `lock_wait` in seconds, `max_outage` in minutes, `max_cost`
    in US dollars. `columns` maps a role to the input's column, where that has another name.
    """

    provider: str = "dashscope"
    model: str | None = None
    url: str | None = None
    api_key_env: str | None = None
    instruct: str | None = None
    fps: float | None = None
    timeout: float = DEFAULT_TIMEOUT_S
    top_n: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_in_flight: int = 128
    max_documents_in_flight: int | None = None
    max_attempts: int = 5
    max_outage: float | None = None
    max_cost: float | None = None
    max_rejects: int = 0
    max_documents: int | None = None
    max_tokens_per_document: int | None = None
    max_tokens_per_request: int | None = None
    merge: Literal["auto", "trust"] = "auto"
    certify_depth: int | None = None
    long_documents: Literal["truncate", "max-passage"] = "truncate"
    duplicates: Literal["keep", "first"] = "keep"
    layout: LayoutName = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    queries: str | None = None
    corpus: str | None = None
    text_template: str = PLAIN_TEMPLATE
    missing: OnMissing = "error"
    sort_input: bool = False
    limit: int | None = None
    with_text: bool = False
    groups_per_part: int = 1_000
    score_store: str | None = None
    reuse: Literal["exact", "partial"] = "exact"
    lock_wait: float = 0.0
    restart: bool = False
    quota: str | None = None
    quota_token_env: str | None = None
    shard: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Return the options of these names; numbers may be NumPy's, and places be paths.

        Raises:
            SettingsError: for a name that is no option, and a value of a wrong type.
        """
        kinds = get_type_hints(cls)
        for name in options:
            if name not in cls.__struct_fields__:
                nearest = get_close_matches(name, cls.__struct_fields__, n=1)
                raise SettingsError(
                    "no such option",
                    which=name,
                    cure=f"did you mean {nearest[0]}?" if nearest else "see rerank run --help",
                )
        return cls(**{name: _convert(name, options[name], kinds[name]) for name in options})

    @property
    def preset(self) -> Provider:
        """The provider.

        Raises:
            SettingsError: for an unknown one.
        """
        return find_provider(self.provider)

    @property
    def profile(self) -> ModelProfile:
        """The profile of the model, with the limits that the options set.

        Raises:
            SettingsError: for limits that contradict each other.
        """
        limits = {
            "max_documents": self.max_documents,
            "max_tokens_per_document": self.max_tokens_per_document,
            "max_tokens_per_request": self.max_tokens_per_request,
        }
        given = {name: value for name, value in limits.items() if value is not None}
        return self.preset.profile(self.model).with_limits(**given)

    @property
    def preparation(self) -> Preparation:
        """How candidates are prepared.

        Raises:
            SettingsError: for a template that cannot be used, and for options without effect.
        """
        return Preparation(
            queries=self.queries,
            corpus=self.corpus,
            text_template=self.text_template,
            missing=self.missing,
            sort_input=self.sort_input,
        )

    def address(self, default: str | None = None) -> str:
        """Return the address of the service: `url`, else `default`, else the provider's own.

        Raises:
            SettingsError: if there is none, or if it is not a web address, or holds a user or a
                password, which messages would show.
        """
        url = self.url or default or self.preset.url
        if url is None:
            raise SettingsError(
                f"provider {self.provider} has no address of its own",
                which="--url",
                cure="give one",
            )
        _require_address(url)
        return url

    def api_key(self) -> str | None:
        """Return the key that `provider` and `api_key_env` name; None if none is needed.

        Raises:
            SettingsError: if a key is needed and the variable is unset or blank.
        """
        return environment.read_api_key(self.preset, self.api_key_env)

    def settings(self, *, url: str | None = None) -> RunSettings:
        """Return the settings that the options ask for.

        Args:
            url: The address of the service unless the options name one; by default the provider's.

        Raises:
            SettingsError: for options that contradict each other or would be ignored.
        """
        provider, profile = self.preset, self.profile
        return RunSettings(
            provider=provider,
            profile=profile,
            url=self.address(url),
            pace=Pace(
                requests_per_minute=_given(self.requests_per_minute, profile.requests_per_minute),
                tokens_per_minute=_given(self.tokens_per_minute, profile.tokens_per_minute),
                max_in_flight=self.max_in_flight,
                max_documents_in_flight=_given(
                    self.max_documents_in_flight, provider.max_documents_in_flight
                ),
            ),
            max_outage_s=None if self.max_outage is None else 60 * self.max_outage,
            timeout_s=self.timeout,
            max_cost_usd=self.max_cost,
            columns=dict(self.columns),
            preparation=self.preparation,
            lock_wait_s=self.lock_wait,
            shard=None if self.shard is None else Shard.parse(self.shard),
            **{name: getattr(self, name) for name in _SAME_NAME},
        )


def _given(value: Number | None, default: Number | None) -> Number | None:
    return default if value is None else value


def _convert(name: str, value: Any, kind: Any) -> Any:
    """Return the value of an option in its type.

    Raises:
        SettingsError: if it is of another type, or not one of the words that the option takes.
    """
    import numpy as np  # here, since the help of a command imports this module

    if isinstance(value, np.generic):
        value = value.item()
    elif isinstance(value, PathLike):
        value = str(value)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        kinds = [kind, *get_args(kind)]
        names = [_KIND_NAMES[kind] for kind in kinds if kind in _KIND_NAMES]
        raise SettingsError(
            "not a value of this option",
            which=name,
            found=repr(value),
            expected=names[0] if names else list(get_args(kind)),
        ) from None


def _require_address(url: str) -> None:
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
