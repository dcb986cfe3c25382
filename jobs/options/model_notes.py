"""Notes about the model of a run, before anything is sent."""

from collections.abc import Iterator
from difflib import get_close_matches

from pipeline.core.models import PROFILES
from pipeline.core.settings import RunSettings

_ALIKE = 0.8


def model_notes(settings: RunSettings) -> Iterator[str]:
    """Yield a sentence for each doubt about a model: not published here, or perhaps misspelt."""
    provider, name = settings.provider, settings.profile.name
    if provider.is_unpublished(name):
        places = ", ".join(provider.published)
        yield f"{provider.name} does not publish {name}, only {places}"
    if name in provider.models:
        return
    known = [*provider.models, *PROFILES]
    nearest = get_close_matches(name.rpartition("/")[2].lower(), known, n=1, cutoff=_ALIKE)
    if nearest and nearest[0] != name and provider.models:
        like = provider.limits.name
        meant = f"did you mean {nearest[0]}?"
        yield f"{name} is not known, {meant} Limits and price are those of {like}"
