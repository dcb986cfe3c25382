"""Presets of rerank services: address, wire format, key and default model.

Addresses and shapes: Alibaba Cloud Model Studio, pages `text-rerank-api` and `rerank` (May and June
2026). The endpoint decides the shape of a body, not the model: the native endpoint refuses flat
bodies with 400, whatever the model (observed in AstrBotDevs/AstrBot issue 9360). Vtrix resells the
model with flat requests and nested answers (doc.vtrix.ai, page qwen3-rerank); its path is unknown.
"""

from msgspec import Struct
from msgspec.structs import replace

from pipeline.core.errors import SettingsError
from pipeline.core.models import PROFILES, ModelProfile

_NATIVE_PATH = "/api/v1/services/rerank/text-rerank/text-rerank"
_COMPATIBLE_PATH = "/compatible-api/v1/reranks"


class Provider(Struct, frozen=True, kw_only=True):
    """A preset; a run can override every value.

    Attributes:
        wire_format: Name in `pipeline.service.wire.formats.WIRE_FORMATS`.
        url: The full address of the endpoint; None if the user must give it.
        api_key_env: The environment variable that holds the key; None if no key is needed.
        default_model: The model to ask if none is named.
        limits: The limits of a model that has no profile of its own.
    """

    name: str
    wire_format: str
    url: str | None
    api_key_env: str | None
    default_model: str = "qwen3-rerank"
    limits: ModelProfile = PROFILES["qwen3-rerank"]

    def profile(self, model: str) -> ModelProfile:
        """Return the model's profile, or the provider's limits for a model without one."""
        if model in PROFILES:
            return PROFILES[model]
        return replace(self.limits, name=model, takes_instruct=True)


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider(
            name="dashscope",
            wire_format="dashscope",
            url="https://dashscope-intl.aliyuncs.com" + _NATIVE_PATH,
            api_key_env="DASHSCOPE_API_KEY",
        ),
        Provider(
            name="dashscope-cn",
            wire_format="dashscope",
            url="https://dashscope.aliyuncs.com" + _NATIVE_PATH,
            api_key_env="DASHSCOPE_API_KEY",
        ),
        Provider(
            name="dashscope-compatible",
            wire_format="dashscope-compatible",
            url="https://dashscope-intl.aliyuncs.com" + _COMPATIBLE_PATH,
            api_key_env="DASHSCOPE_API_KEY",
        ),
        Provider(
            name="dashscope-compatible-cn",
            wire_format="dashscope-compatible",
            url="https://dashscope.aliyuncs.com" + _COMPATIBLE_PATH,
            api_key_env="DASHSCOPE_API_KEY",
        ),
        Provider(
            name="vtrix",
            wire_format="vtrix",
            url=None,
            api_key_env="VTRIX_API_KEY",
        ),
        Provider(
            name="emulator",
            wire_format="dashscope",
            url=None,
            api_key_env=None,
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
