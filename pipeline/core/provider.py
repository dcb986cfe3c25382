"""A rerank service as a run addresses it: endpoint, wire format, key, models, limits and prices."""

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from pipeline.core.errors import SettingsError
from pipeline.core.models import PROFILES, ModelProfile

ALIBABA_MODELS = ("qwen3-rerank", "gte-rerank-v2", "qwen3-vl-rerank", "qwen3.7-text-rerank")
"""The models of Alibaba Cloud, which others serve too."""


class Provider(Struct, frozen=True, kw_only=True):
    """A preset; a run can override every value.

    Attributes:
        wire_format: Name in `pipeline.service.wire.formats.WIRE_FORMATS`.
        url: The full address of the endpoint; None if the user must give it.
        api_key_env: The environment variable that holds the key; None if no key is taken.
        requires_key: Whether nothing can be asked without a key.
        default_model: The model to ask if none is named; None if one must be named.
        models: The models whose profiles hold here, by name.
        published: Those that the provider publishes for this endpoint.
        usd_per_million_tokens: Its prices, where they differ from those of the profiles, by model.
        limits: The limits of a model that is not among `models`.
        max_documents_in_flight: Documents that the service takes at once, if it limits these.
        other_region: The preset of the same service in another region, with keys of its own.
        free_quota: The free quota of a new account; "" if nothing is published.
        source: Where this was read in November 2026.
    """

    name: str
    wire_format: str
    url: str | None
    api_key_env: str | None
    requires_key: bool = True
    default_model: str | None = "qwen3-rerank"
    models: tuple[str, ...] = ALIBABA_MODELS
    published: tuple[str, ...] = ALIBABA_MODELS
    usd_per_million_tokens: Mapping[str, float] = field(default_factory=dict)
    limits: ModelProfile = PROFILES["qwen3-rerank"]
    max_documents_in_flight: int | None = None
    other_region: str | None = None
    free_quota: str = ""
    source: str = "alibabacloud.com/help/en/model-studio/text-rerank-api"

    @property
    def is_sold(self) -> bool:
        """Whether requests cost money; those to a server of your own or the emulator do not."""
        return self.requires_key and self.api_key_env is not None

    def profile(self, model: str | None) -> ModelProfile:
        """Return the profile of a model here, or the provider's limits for one without a profile.

        Args:
            model: Its name; None for the default.

        Raises:
            SettingsError: if none is named and there is no default.
        """
        name = model or self.default_model
        if name is None:
            raise SettingsError(
                f"provider {self.name} has no default model",
                which="--model",
                cure="name the model that the server serves",
            )
        if name not in self.models:
            return replace(self.limits, name=name, takes_instruct=True, takes_fps=True)
        price = self.usd_per_million_tokens.get(name, PROFILES[name].usd_per_million_tokens)
        return replace(PROFILES[name], usd_per_million_tokens=price)

    def is_unpublished(self, model: str) -> bool:
        """Return whether a model is known, but not published for this endpoint."""
        return model in self.models and model not in self.published
