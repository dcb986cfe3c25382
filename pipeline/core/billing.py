"""What a request is billed by: its tokens, those of images at a price of their own, or searches.

A price belongs to one *billed unit*: a token of text, or a search unit. What else is billed counts
as so many of them.
"""

import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:  # commands that only name models start faster without numpy
    from pipeline.core.records import Request, Scores

_TEMPLATE_TOKENS: Final = 100
"""Instruction and template around each document, which some hosts bill (about 70 are published)."""


class SearchUnits(Struct, frozen=True, kw_only=True):
    """How a vendor that bills by searches counts those of a request.

    Attributes:
        documents: Documents in one search unit; None if a request is one, however many it holds.
        chunk_tokens: A document that has more tokens, its query's included, counts once for each
            chunk of that length; None if every document counts once.
    """

    documents: int | None = None
    chunk_tokens: int | None = None


class Billing(Struct, frozen=True, kw_only=True):
    """How requests to a model are billed.

    Attributes:
        image_weight: The price of a token of images and videos, in tokens of text.
        search_units: How search units are counted; None if tokens are billed.
    """

    image_weight: float = 1.0
    search_units: SearchUnits | None = None

    def most(self, request: "Request") -> int:
        """Return an upper bound of the units that are billed for a request."""
        if self.search_units is not None:
            return request.search_units or 1
        return self.weigh(request) + _TEMPLATE_TOKENS * request.num_documents

    def estimate(self, request: "Request") -> int:
        """Return the units of a request without an answer: its bounds, without a template."""
        return (request.search_units or 1) if self.search_units else self.weigh(request)

    def billed(self, request: "Request", scores: "Scores") -> float:
        """Return the units that an answered request is billed, as its answer tells.

        No service says how many of its tokens are those of images: they are taken to have the share
        that they have of the request's bounds.
        """
        if self.search_units is not None:
            units = scores.search_units
            return (request.search_units or 1) if units is None else units
        tokens = request.tokens if scores.total_tokens is None else scores.total_tokens
        if not request.image_tokens:
            return tokens
        return tokens * self.weigh(request) / request.tokens

    def weigh(self, request: "Request") -> int:
        """Return the bound of a request's tokens, those of images counted by their price."""
        if not request.image_tokens:
            return request.tokens
        return request.tokens + math.ceil((self.image_weight - 1) * request.image_tokens)


BY_TOKENS: Final = Billing()
"""As most vendors do."""
