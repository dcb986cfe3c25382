"""Presets of rerank services: address, wire format, key, models and what is published of them.

Alibaba Cloud Model Studio, pages `text-rerank-api` and `rerank` (May and June 2026): a key belongs
to a region; Singapore publishes qwen3-rerank alone, Beijing all models, with prices of its own
(0.5 CNY for a million tokens of qwen3-rerank). The endpoint decides the shape of a body, not the
model: the native endpoint refuses flat bodies with 400, whatever the model (observed in
AstrBotDevs/AstrBot issue 9360). Vtrix resells the model with flat requests and nested answers
(doc.vtrix.ai, page qwen3-rerank); its path is unknown.

Addresses of the others: their wire formats in `pipeline.service.wire.formats` name the sources.
Self-hosted servers are expected at their usual port on this machine. Their limits are not known, so
they get the limits of qwen3-rerank for a request, no quota and no price. They name their models as
they like, so there is no default.
"""

from types import MappingProxyType

from msgspec.structs import replace

from pipeline.core.errors import SettingsError
from pipeline.core.models import PROFILES, UNLIMITED_TOKENS, ModelProfile
from pipeline.core.provider import ALIBABA_MODELS, Provider

_NATIVE_PATH = "/api/v1/services/rerank/text-rerank/text-rerank"
_COMPATIBLE_PATH = "/compatible-api/v1/reranks"
_OWN_SERVER = ModelProfile(name="", tokenizer="other")


def _alibaba(name: str, wire_format: str, url: str, *published: str, **how: object) -> Provider:
    return Provider(
        name=name,
        wire_format=wire_format,
        url=url,
        api_key_env="DASHSCOPE_API_KEY",
        published=published,
        **how,  # type: ignore[arg-type]
    )


def _own_server(name: str, url: str, **how: object) -> Provider:
    return Provider(
        name=name,
        wire_format=name,
        url=url,
        api_key_env=f"{name.upper()}_API_KEY",
        requires_key=False,
        default_model=None,
        models=(),
        published=(),
        **{"limits": _OWN_SERVER} | how,  # type: ignore[arg-type]
    )


_FREE_QUOTA = "1,000,000 tokens in the first 90 days"
_BEIJING_PRICES = MappingProxyType({"qwen3-rerank": 0.069})

PROVIDERS = {
    provider.name: provider
    for provider in (
        _alibaba(
            "dashscope",
            "dashscope",
            "https://dashscope-intl.aliyuncs.com" + _NATIVE_PATH,
            "qwen3-rerank",
            free_quota=_FREE_QUOTA,
            other_region="dashscope-cn",
        ),
        _alibaba(
            "dashscope-cn",
            "dashscope",
            "https://dashscope.aliyuncs.com" + _NATIVE_PATH,
            *ALIBABA_MODELS,
            usd_per_million_tokens=_BEIJING_PRICES,
            other_region="dashscope",
        ),
        _alibaba(
            "dashscope-compatible",
            "dashscope-compatible",
            "https://dashscope-intl.aliyuncs.com" + _COMPATIBLE_PATH,
            "qwen3-rerank",
            free_quota=_FREE_QUOTA,
            other_region="dashscope-compatible-cn",
        ),
        _alibaba(
            "dashscope-compatible-cn",
            "dashscope-compatible",
            "https://dashscope.aliyuncs.com" + _COMPATIBLE_PATH,
            "qwen3-rerank",
            usd_per_million_tokens=_BEIJING_PRICES,
            other_region="dashscope-compatible",
        ),
        Provider(
            name="vtrix",
            wire_format="vtrix",
            source="doc.vtrix.ai/domestic/api/qwen/qwen3-rerank",
            url=None,
            api_key_env="VTRIX_API_KEY",
            published=("qwen3-rerank",),
        ),
        Provider(
            name="cohere",
            wire_format="cohere",
            source="docs.cohere.com/docs/reranking-best-practices",
            url="https://api.cohere.com/v2/rerank",
            api_key_env="COHERE_API_KEY",
            default_model="rerank-v3.5",
            models=("rerank-v3.5", "rerank-v4.0-fast", "rerank-v4.0-pro"),
            published=("rerank-v3.5", "rerank-v4.0-fast", "rerank-v4.0-pro"),
            limits=PROFILES["rerank-v3.5"],
        ),
        Provider(
            name="jina",
            wire_format="jina",
            source="jina.ai/models/jina-reranker-v3.5",
            url="https://api.jina.ai/v1/rerank",
            api_key_env="JINA_API_KEY",
            default_model="jina-reranker-v3",
            models=("jina-reranker-v3", "jina-reranker-v3.5", "jina-reranker-v2-base-multilingual"),
            published=(
                *("jina-reranker-v3", "jina-reranker-v3.5"),
                "jina-reranker-v2-base-multilingual",
            ),
            limits=PROFILES["jina-reranker-v3"],
        ),
        Provider(
            name="voyage",
            wire_format="voyage",
            source="docs.voyageai.com/docs/reranker",
            url="https://api.voyageai.com/v1/rerank",
            api_key_env="VOYAGE_API_KEY",
            default_model="rerank-2.5",
            models=("rerank-2.5", "rerank-2.5-lite"),
            published=("rerank-2.5", "rerank-2.5-lite"),
            limits=PROFILES["rerank-2.5"],
        ),
        Provider(
            name="siliconflow",
            wire_format="siliconflow",
            source="docs.siliconflow.cn",
            url="https://api.siliconflow.cn/v1/rerank",
            api_key_env="SILICONFLOW_API_KEY",
            default_model="Qwen/Qwen3-Reranker-8B",
            models=(),
            published=(),
            limits=ModelProfile(name=""),
        ),
        _own_server(
            "vllm", "http://localhost:8000/v1/rerank", source="github.com/vllm-project/vllm"
        ),
        _own_server(
            "sglang", "http://localhost:30000/v1/rerank", source="github.com/sgl-project/sglang"
        ),
        _own_server(
            "llamacpp", "http://localhost:8080/v1/rerank", source="github.com/ggml-org/llama.cpp"
        ),
        _own_server(
            "tei",
            "http://localhost:8080/rerank",
            source="github.com/huggingface/text-embeddings-inference",
            limits=replace(_OWN_SERVER, max_documents=32, max_tokens_per_request=UNLIMITED_TOKENS),
            max_documents_in_flight=512,
        ),
        _own_server(
            "infinity", "http://localhost:7997/rerank", source="github.com/michaelfeil/infinity"
        ),
        _own_server(
            "xinference", "http://localhost:9997/v1/rerank", source="github.com/xorbitsai/inference"
        ),
        _own_server(
            "litellm", "http://localhost:4000/rerank", source="docs.litellm.ai/docs/rerank"
        ),
        Provider(
            name="emulator",
            source="jobs/emulator",
            wire_format="dashscope",
            url=None,
            api_key_env=None,
            models=tuple(PROFILES),
            published=tuple(PROFILES),
        ),
    )
}
"""The presets, by name."""

EMULATOR_PATH = _NATIVE_PATH
"""Where the offline service answers the `emulator` preset's wire format."""


def find_provider(name: str) -> Provider:
    """Return the preset of that name.

    Raises:
        SettingsError: if there is none.
    """
    try:
        return PROVIDERS[name]
    except KeyError:
        raise SettingsError(
            "unknown provider", which="--provider", found=name, expected=" | ".join(PROVIDERS)
        ) from None
