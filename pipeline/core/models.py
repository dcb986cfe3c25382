"""The profiles of rerank models: limits, price, quota, tokenizer.

Qwen and GTE: Alibaba Cloud Model Studio as of 2026-11-21, pages `text-rerank-api`, `qwen3-rerank`
and `gte-rerank-v2` (alibabacloud.com/help/en/model-studio/), `qwen3-vl-rerank`
(help.aliyun.com/zh/model-studio/). Published pages disagree on some figures (tokens of a request to
qwen3-rerank: 120,000 or 30,000, to qwen3-vl-rerank: 800,000 or 120,000), so a run can override
each, and packs smaller after a refusal for size. What qwen3-vl-rerank takes of texts and images
together is not published: each takes its share of a request. Limits of qwen3.7-text-rerank are not
published: they are taken to be those of qwen3-rerank.

Cohere: docs.cohere.com, pages `reranking-best-practices` and `rate-limits`; for search units and
their prices see `COHERE_SEARCH_UNITS`. Jina: jina.ai, page `models/jina-reranker-v3.5`; its models
are built on Qwen3 and have its vocabulary. Voyage: docs.voyageai.com, pages `reranker`, `pricing`
and `rate-limits` (first tier). All read 2026-11. A price or quota that no page states is left out.
"""

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from pipeline.core.billing import Billing, SearchUnits
from pipeline.core.errors import SettingsError

if TYPE_CHECKING:  # commands that only name models start faster
    from pipeline.core.content import ContentKind

UNLIMITED_TOKENS: Final = 1_000_000_000
"""For a request that is limited only in its documents."""

COHERE_SEARCH_UNITS: Final = SearchUnits(documents=100, chunk_tokens=500)
"""One query with up to 100 documents; a document that is longer than 500 tokens, its query's
included, counts once for each chunk (cohere.com/pricing, questions and answers, read 2026-11-21).
$2.00 a thousand for rerank-v4.0-fast and rerank-v3.5, $2.50 for rerank-v4.0-pro
(developer.puter.com/tutorials/cohere-api-pricing, June 2026: in October 2026 Cohere's page gave no
price any more, so compare these with a bill)."""


class ModelProfile(Struct, frozen=True, kw_only=True):
    """What a model accepts in one request, and what it costs.

    Attributes:
        max_documents: Documents in one request.
        max_images: Images among them; 0 if the model scores no images.
        max_videos: Videos among them; 0 if the model scores no videos.
        max_tokens_per_document: Tokens of one document or query; the service cuts the rest without
            saying so.
        max_tokens_per_request: query_tokens x documents + sum(document_tokens).
        usd_per_million_tokens: Price of text tokens.
        usd_per_million_image_tokens: Price of tokens of images and videos; None if that is the
            price of text.
        usd_per_thousand_searches: Price of search units, of a vendor that bills these.
        search_units: How they are counted; None if tokens are billed.
        requests_per_minute: The account's quota for the model.
        tokens_per_minute: The account's quota for the model.
        tokenizer: `qwen` is counted exactly, `xlm-r` and `other` by an upper estimate.
        languages: How many are published; "" if that is not published.
        takes_instruct: Whether an instruction changes the scores.
        takes_fps: Whether a request may set how many frames of a video the model reads.
        listwise: Whether a document's score depends on the others in its request.
    """

    name: str
    max_documents: int = 500
    max_images: int = 0
    max_videos: int = 0
    max_tokens_per_document: int = 4_000
    max_tokens_per_request: int = 120_000
    usd_per_million_tokens: float = 0.0
    usd_per_million_image_tokens: float | None = None
    usd_per_thousand_searches: float = 0.0
    search_units: SearchUnits | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    tokenizer: Literal["qwen", "xlm-r", "other"] = "qwen"
    languages: str = ""
    takes_instruct: bool = False
    takes_fps: bool = False
    listwise: bool = False

    def __post_init__(self) -> None:
        """Raise SettingsError for limits under which nothing can be sent."""
        for name in ("max_documents", "max_tokens_per_document", "max_tokens_per_request"):
            value = getattr(self, name)
            if value < 1:
                raise SettingsError(
                    "impossible limit", which=name, found=value, expected="1 or more"
                )

    @property
    def accepts(self) -> frozenset["ContentKind"]:
        """The kinds of content that the model scores."""
        kinds: dict[ContentKind, int] = {
            "text": self.max_documents,
            "image": self.max_images,
            "video": self.max_videos,
        }
        return frozenset(kind for kind, most in kinds.items() if most)

    @property
    def is_multimodal(self) -> bool:
        """Whether the model scores more than texts."""
        return bool(self.max_images or self.max_videos)

    @property
    def usd_per_token(self) -> float:
        """Price of one text token."""
        return self.usd_per_million_tokens / 1e6

    @property
    def usd_per_unit(self) -> float:
        """Price of one billed unit: of a text token, or of a search unit."""
        if self.search_units is not None:
            return self.usd_per_thousand_searches / 1e3
        return self.usd_per_token

    @property
    def billing(self) -> Billing:
        """What requests are billed by."""
        image_price, price = self.usd_per_million_image_tokens, self.usd_per_million_tokens
        weight = image_price / price if image_price is not None and price else 1.0
        return Billing(image_weight=weight, search_units=self.search_units)

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
            languages="over 100",
            takes_instruct=True,
        ),
        ModelProfile(
            name="gte-rerank-v2",
            max_tokens_per_request=30_000,
            usd_per_million_tokens=0.115,
            requests_per_minute=5_040,
            tokens_per_minute=4_980_000_000,
            languages="over 50",
            tokenizer="xlm-r",
        ),
        ModelProfile(
            name="qwen3-vl-rerank",
            max_documents=100,
            max_images=40,
            max_videos=4,
            max_tokens_per_document=8_000,
            max_tokens_per_request=800_000,
            usd_per_million_tokens=0.1,
            usd_per_million_image_tokens=0.258,
            requests_per_minute=600,
            tokens_per_minute=9_000_000,
            languages="33",
            takes_instruct=True,
            takes_fps=True,
        ),
        ModelProfile(name="qwen3.7-text-rerank", usd_per_million_tokens=0.1, takes_instruct=True),
        *(
            ModelProfile(
                name=name,
                max_documents=1_000,
                max_tokens_per_document=4_096,
                max_tokens_per_request=UNLIMITED_TOKENS,
                usd_per_thousand_searches=price,
                search_units=COHERE_SEARCH_UNITS,
                requests_per_minute=1_000,
                tokenizer="other",
            )
            for name, price in (
                ("rerank-v3.5", 2.0),
                ("rerank-v4.0-fast", 2.0),
                ("rerank-v4.0-pro", 2.5),
            )
        ),
        *(
            ModelProfile(name=name, max_tokens_per_document=8_000, languages="93", listwise=True)
            for name in ("jina-reranker-v3", "jina-reranker-v3.5")
        ),
        ModelProfile(
            name="jina-reranker-v2-base-multilingual",
            max_tokens_per_document=1_024,
            max_tokens_per_request=UNLIMITED_TOKENS,
            tokenizer="xlm-r",
        ),
        *(
            ModelProfile(
                name=name,
                max_documents=1_000,
                max_tokens_per_document=24_000,
                max_tokens_per_request=300_000,
                usd_per_million_tokens=price,
                requests_per_minute=2_000,
                tokens_per_minute=tokens_per_minute,
                tokenizer="other",
                takes_instruct=False,
            )
            for name, price, tokens_per_minute in (
                ("rerank-2.5", 0.05, 2_000_000),
                ("rerank-2.5-lite", 0.02, 4_000_000),
            )
        ),
    )
}
"""Profiles of the models whose figures are known, by name."""
