"""What a request is billed by: tokens, with image tokens at another price, or search units.

The price is that of one *billed unit*: a token of text, or a search unit. Image tokens are
converted to billed units.
"""

import math
from typing import Final

from msgspec import Struct

_TEMPLATE_TOKENS: Final = 100
"""Instruction and template around each document, which some hosts bill (about 70 are published)."""


class SearchUnits(Struct, frozen=True, kw_only=True):
    """How a vendor that bills by search units counts those of a request.

    Attributes:
        documents: Documents in one search unit; None if a request is one, however many it holds.
        chunk_tokens: A document that has more tokens, its query's included, counts once for each
            chunk of that length; None if every document counts once.
    """

    documents: int | None = None
    chunk_tokens: int | None = None


class Bill(Struct, frozen=True, kw_only=True):
    """The bill of a request, as far as it is known before the answer.

    Attributes:
        most: Upper bound of its billed units.
        estimate: Its units by its bounds alone, without a template around its documents.
        tokens: Upper bound of its tokens.
        search_units: Upper bound of its search units; 0 if they are not billed.
    """

    most: int
    estimate: int
    tokens: int
    search_units: int = 0

    def units(self, total_tokens: int | None, search_units: int | None) -> float:
        """Return the units billed for an answered request; without a count, the estimate.

        Args:
            total_tokens: The tokens that the service counted; None if it does not say.
            search_units: The search units that it counted; None if it does not say.
        """
        if self.search_units:
            return self.estimate if search_units is None else search_units
        if total_tokens is None:
            return self.estimate
        if self.estimate == self.tokens:
            return total_tokens
        return total_tokens * self.estimate / self.tokens


class Billing(Struct, frozen=True, kw_only=True):
    """How requests to a model are billed.

    Attributes:
        image_weight: The price of a token of images and videos, in tokens of text.
        search_units: How search units are counted; None if tokens are billed.
    """

    image_weight: float = 1.0
    search_units: SearchUnits | None = None

    def bill(
        self, *, tokens: int, num_documents: int, image_tokens: int = 0, search_units: int = 0
    ) -> Bill:
        """Return what is known of a request's bill before it is answered.

        No service says how many of the counted tokens are image tokens: their share is taken to be
        the same as in the request's bounds.

        Args:
            tokens: Upper bound of its tokens.
            num_documents: Documents in it.
            image_tokens: Those of `tokens` that are tokens of images and videos.
            search_units: Upper bound of its search units; 0 where they are not counted.
        """
        if self.search_units is not None:
            units = search_units or 1
            return Bill(most=units, estimate=units, tokens=tokens, search_units=units)
        estimate = tokens
        if image_tokens:
            estimate += math.ceil((self.image_weight - 1) * image_tokens)
        most = estimate + _TEMPLATE_TOKENS * num_documents
        return Bill(most=most, estimate=estimate, tokens=tokens)


BY_TOKENS: Final = Billing()
"""As most vendors do."""
