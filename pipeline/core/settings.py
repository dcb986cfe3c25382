"""The validated settings of a run, and the fingerprint of those that change its output."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from pipeline.core.errors import SettingsError
from pipeline.core.models import ModelProfile
from pipeline.core.preparation import Preparation
from pipeline.core.provider import Provider
from pipeline.core.shard import Shard

OUTPUT_FORMAT = 1
"""Version of the output's files; part of every fingerprint."""

DEFAULT_MAX_OUTAGE_S = 600.0
DEFAULT_TIMEOUT_S = 120.0
MIN_PASSAGE_TOKENS = {"qwen": 16, "xlm-r": 21, "other": 24}
"""Minimum tokens of a passage, by tokenizer; shorter ones cannot be cut at natural borders."""
MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""Largest body that the service's gateway accepts (Model Studio, page `text-rerank-api`)."""

LayoutName: TypeAlias = Literal["auto", "long", "nested"]
"""How the rows of an input hold candidates; `auto` finds out. See `pipeline.source.layouts`."""


class Pace(Struct, frozen=True, kw_only=True):
    """Limits on how fast requests are sent; None means no limit.

    Attributes:
        requests_per_minute: Requests admitted in any minute, evenly spread.
        tokens_per_minute: Tokens admitted in any minute.
        max_in_flight: Requests in flight.
        max_documents_in_flight: Documents of the requests in flight, for servers that count texts.
        is_paused: Nothing is sent until the pace changes again.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_in_flight: int = 64
    max_documents_in_flight: int | None = None
    is_paused: bool = False

    def __post_init__(self) -> None:
        """Refuse a limit at which nothing is ever sent."""
        for name in self.limit_names():
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                option = "--" + name.replace("_", "-")
                raise SettingsError(
                    "impossible pace", which=option, found=value, expected="a number over 0"
                )

    @classmethod
    def limit_names(cls) -> tuple[str, ...]:
        """Return the names of the limits."""
        return tuple(name for name in cls.__struct_fields__ if name != "is_paused")


class RunSettings(Struct, frozen=True, kw_only=True):
    """All settings of a run except the key, validated when it is built.

    Durations are in seconds, money in US dollars. Without `max_outage_s` the service may be down
    for ten minutes, but be unreachable from the start for half a minute only. `quota` is the
    address of the quota's leaser, `quota_token_env` the variable that holds the token for it.
    `shard` is the share of the input that the run takes; the output holds those of all shards.

    Raises:
        SettingsError: for settings that contradict each other or would be ignored.
    """

    provider: Provider
    profile: ModelProfile
    url: str
    pace: Pace = field(default_factory=Pace)
    instruct: str | None = None
    fps: float | None = None
    top_n: int | None = None
    max_attempts: int = 5
    max_outage_s: float | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    max_cost_usd: float | None = None
    max_rejects: int = 0
    merge: Literal["auto", "trust"] = "auto"
    certify_depth: int | None = None
    long_documents: Literal["truncate", "max-passage"] = "truncate"
    duplicates: Literal["keep", "first"] = "keep"
    layout: LayoutName = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    preparation: Preparation = field(default_factory=Preparation)
    limit: int | None = None
    with_text: bool = False
    groups_per_part: int = 1_000
    score_store: str | None = None
    reuse: Literal["exact", "partial"] = "exact"
    lock_wait_s: float = 0.0
    restart: bool = False
    quota: str | None = None
    quota_token_env: str | None = None
    shard: Shard | None = None

    def __post_init__(self) -> None:
        """Refuse values that contradict each other or would be ignored."""
        if self.instruct is not None and not self.profile.takes_instruct:
            raise SettingsError(
                f"{self.profile.name} ignores an instruction",
                which="--instruct",
                cure="leave it out or choose another --model",
            )
        if self.fps is not None and not self.profile.takes_fps:
            raise SettingsError(
                f"{self.profile.name} scores no videos",
                which="--fps",
                cure="leave it out or choose another --model",
            )
        if self.fps is not None and not 0 <= self.fps <= 1:
            raise SettingsError(
                "impossible", which="--fps", found=self.fps, expected="a number from 0 to 1"
            )
        if (
            self.max_cost_usd is not None
            and self.provider.is_sold
            and not self.profile.usd_per_unit
        ):
            raise SettingsError(
                f"no price of {self.profile.name} is known, so no limit could hold",
                which="--max-cost",
                cure="leave it out, and limit the cost in the provider's console",
            )
        for option, value in (
            ("--top-n", self.top_n),
            ("--certify-depth", self.certify_depth),
            ("--max-attempts", self.max_attempts),
            ("--groups-per-part", self.groups_per_part),
            ("--limit", self.limit),
        ):
            if value is not None and value < 1:
                raise SettingsError("impossible", which=option, found=value, expected="1 or more")
        for option, amount in (
            ("--max-cost", self.max_cost_usd),
            ("--max-outage", self.max_outage_s),
            ("--lock-wait", self.lock_wait_s),
        ):
            if amount is not None and not 0 <= amount < math.inf:
                raise SettingsError(
                    "impossible", which=option, found=amount, expected="a finite number"
                )
        if not 0 < self.timeout_s < math.inf:
            raise SettingsError(
                "impossible", which="--timeout", found=self.timeout_s, expected="a number over 0"
            )
        cap = self.profile.max_tokens_per_document
        least = MIN_PASSAGE_TOKENS[self.profile.tokenizer]
        if self.long_documents == "max-passage" and cap < least:
            raise SettingsError(
                "too short for passages",
                which="--max-tokens-per-document",
                found=cap,
                expected=f"{least} or more with --long-documents max-passage",
            )
        if self.shard is not None and self.restart:
            raise SettingsError(
                "one shard cannot discard the parts of the others",
                which="--restart",
                cure="choose another OUTPUT, or begin anew without --shard",
            )
        if not self.url.startswith(("http://", "https://")):
            raise SettingsError(
                "not a web address", which="--url", found=self.url, expected="http(s)://..."
            )

    @property
    def depth(self) -> int | None:
        """The depth that final requests settle; None for as deep as is cheap, for each group."""
        return self.certify_depth or self.top_n

    def output_settings(self) -> dict[str, Any]:
        """Return the settings that change the output, by name: the first half of its fingerprint.

        Not in it: the key, the address, pace, concurrency, attempts, score store, logs.
        """
        return {
            "format": OUTPUT_FORMAT,
            "provider": self.provider.name,
            "model": self.profile.name,
            "instruct": self.instruct,
            **self._fps,
            "max_documents": self.profile.max_documents,
            "max_tokens_per_document": self.profile.max_tokens_per_document,
            "max_tokens_per_request": self.profile.max_tokens_per_request,
            "merge": self.merge,
            "certify_depth": self.depth or "auto",
            "long_documents": self.long_documents,
            "duplicates": self.duplicates,
            "reuse": self.reuse,
            "top_n": self.top_n,
            "with_text": self.with_text,
            "groups_per_part": self.groups_per_part,
            "columns": dict(sorted(self.columns.items())),
            "layout": self.layout,
            **self.preparation.output_settings(),
            **({} if self.limit is None else {"limit": self.limit}),
        }

    def score_scope(self) -> bytes:
        """Return all that scores depend on besides query and documents, as bytes to hash."""
        return _canonical(
            {
                "provider": self.provider.name,
                "model": self.profile.name,
                "instruct": self.instruct,
                "max_tokens_per_document": self.profile.max_tokens_per_document,
                **self._fps,
            }
        )

    @property
    def _fps(self) -> dict[str, float]:
        """The entry in fingerprints and keys: empty unless the option is given."""
        return {} if self.fps is None else {"fps": self.fps}


def fingerprint(facts: Mapping[str, Any]) -> str:
    """Return a hash of `facts` as 16 hexadecimal digits; equal facts have equal hashes."""
    return hashlib.sha256(_canonical(facts)).hexdigest()[:16]


def _canonical(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
