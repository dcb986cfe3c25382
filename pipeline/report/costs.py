"""The costs of an output: paid, planned, and the limit."""

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from pipeline.core.errors import RerankError
from pipeline.core.providers import find_provider
from pipeline.output.reader import WrittenOutput
from pipeline.report import words
from pipeline.report.tries import Story

MAX_PLANNED: Final = 200_000
"""Rows of an input that is planned anew for the page; a larger one would take too long."""


class PlannedCost(Struct, frozen=True, kw_only=True):
    """The numbers of `rerank plan` for the input.

    Attributes:
        requests: Of the first round.
        tokens: Of these.
    """

    requests: int
    tokens: int
    cost_usd: float


def _price(output: WrittenOutput) -> float:
    """Return the price of a token in US dollars; 0 if none is known."""
    settings = output.manifest.settings
    try:
        profile = find_provider(settings["provider"]).profile(settings["model"])
    except (RerankError, KeyError):
        return 0.0
    return profile.usd_per_token


def price_in_words(output: WrittenOutput) -> str:
    """Return a sentence on the price of a token."""
    price = _price(output)
    if not price:
        return "No price of the model is known."
    if output.manifest.settings.get("provider") == "emulator":
        return f"What the same tokens would cost at ${1e6 * price:g} a million; nothing was paid."
    return f"At ${1e6 * price:g} a million tokens."


def cost_rows(
    output: WrittenOutput, story: Story, planned: PlannedCost | None
) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows of the table of costs: name, requests, tokens, US dollars."""

    def row(name: str, requests: float, tokens: float | None, usd: float | None) -> Any:
        shown = "–" if tokens is None else words.count(tokens)
        return name, words.count(requests), shown, "–" if usd is None else words.usd(usd)

    price = _price(output)
    if planned is not None:
        yield row(
            "planned for the whole input, first requests",
            planned.requests,
            planned.tokens,
            planned.cost_usd,
        )
    tokens = sum(part.total_tokens for part in output.parts)
    requests = sum(part.requests for part in output.parts)
    yield row("what the written rankings are made of", requests, tokens, tokens * price)
    paid = [story.total(name) for name in ("requests", "total_tokens", "cost_usd")]
    yield row("paid by all tries", *paid)
    if story.total("unanswered"):
        unanswered = story.total("unanswered"), None, story.total("unanswered_usd")
        yield row("perhaps paid: the answer was lost", *unanswered)
    yield row("reused from the score store", story.total("requests_reused"), None, None)
    limit = story.tries[-1].record.limits.get("max_cost_usd") if story.tries else None
    if limit is not None:
        yield "limit of the cost", "–", "–", words.usd(limit)
