"""What each rerank model accepts and costs: limits, price, quota, tokenizer.

Figures are those of Alibaba Cloud Model Studio as of 2026-11-21: pages `text-rerank-api`,
`qwen3-rerank` and `gte-rerank-v2` (alibabacloud.com/help/en/model-studio/), `qwen3-vl-rerank`
(help.aliyun.com/zh/model-studio/). Published pages disagree on some of them (qwen3-rerank: 120,000
or 30,000 tokens a request), so a run can override each, and packs smaller after a refusal for size.
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from pipeline.core.errors import SettingsError


class ModelProfile(Struct, frozen=True, kw_only=True):
    """What a model accepts in one request, and what it costs.

    Attributes:
        max_documents: Documents in one request.
        max_tokens_per_document: Tokens of one document or query; the service cuts the rest without
            saying so.
        max_tokens_per_request: query_tokens x documents + sum(document_tokens).
        usd_per_million_tokens: Price of text tokens.
        requests_per_minute: The account's quota for the model.
        tokens_per_minute: The account's quota for the model.
        tokenizer: `qwen` is counted exactly, `xlm-r` by an upper bound.
        takes_instruct: Whether an instruction changes the scores.
    """

    name: str
    max_documents: int = 500
    max_tokens_per_document: int = 4_000
    max_tokens_per_request: int = 120_000
    usd_per_million_tokens: float = 0.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    tokenizer: Literal["qwen", "xlm-r"] = "qwen"
    takes_instruct: bool = False

    def __post_init__(self) -> None:
        """Raise SettingsError for limits under which nothing can be sent."""
        for name in ("max_documents", "max_tokens_per_document", "max_tokens_per_request"):
            value = getattr(self, name)
            if value < 1:
                raise SettingsError(
                    "impossible limit", which=name, found=value, expected="1 or more"
                )

    @property
    def usd_per_token(self) -> float:
        """Price of one text token."""
        return self.usd_per_million_tokens / 1e6

    def with_limits(self, **limits: int) -> "ModelProfile":
        """Return a profile with other limits, given by the names of the attributes."""
        return replace(self, **limits)


PROFILES = {
    profile.name: profile
    for profile in (
        ModelProfile(
            name="qwen3-rerank",
            usd_per_million_tokens=0.1,
            requests_per_minute=5_400,
            tokens_per_minute=5_000_000_000,
            takes_instruct=True,
        ),
        ModelProfile(
            name="gte-rerank-v2",
            max_tokens_per_request=30_000,
            usd_per_million_tokens=0.115,
            requests_per_minute=5_040,
            tokens_per_minute=4_980_000_000,
            tokenizer="xlm-r",
        ),
        ModelProfile(
            name="qwen3-vl-rerank",
            max_documents=100,
            max_tokens_per_document=8_000,
            max_tokens_per_request=800_000,
            usd_per_million_tokens=0.1,
            requests_per_minute=600,
            tokens_per_minute=9_000_000,
            takes_instruct=True,
        ),
    )
}
"""Profiles of the models whose figures are known, by name."""
