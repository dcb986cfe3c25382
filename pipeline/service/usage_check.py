"""Reject a token count that is impossible for a request of its size.

A count of 10**12 would stall the pace for years, and be taken for money that was spent. A count
that is negative, or not a number, counts as missing too.
"""

import logging
from typing import Final

from msgspec.structs import replace

from pipeline.core.billing import Bill
from pipeline.core.events import log_event
from pipeline.core.groups import Id
from pipeline.core.records import Scores

log = logging.getLogger(__name__)

MOST_TIMES_BOUND: Final = 10
"""A count so many times the bound, template included, is an error of the service."""

_TEMPLATE_TOKENS: Final = 100
"""Instruction and template around each document, which some hosts count."""


class UsageCheck:
    """Remove impossible counts from answers, and warn of the first one."""

    def __init__(self) -> None:
        self._has_warned = False

    def checked(self, scores: Scores, bill: Bill, num_documents: int, query_id: Id) -> Scores:
        """Return an answer, with None for a count that no such request can have.

        Args:
            scores: The answer.
            bill: What is known of the request's bill.
            num_documents: Documents in the request.
            query_id: For the log.
        """
        tokens = self.tokens(scores.total_tokens, bill, num_documents, query_id)
        units = scores.search_units
        if units is not None and not 0 <= units <= MOST_TIMES_BOUND * bill.search_units:
            self._warn(query_id, search_units=units)
            units = None
        if tokens == scores.total_tokens and units == scores.search_units:
            return scores
        return replace(scores, total_tokens=tokens, search_units=units)

    def tokens(
        self, counted: int | None, bill: Bill, num_documents: int, query_id: Id
    ) -> int | None:
        """Return the tokens that a service counted; None if no such request can have them."""
        most = MOST_TIMES_BOUND * (bill.tokens + _TEMPLATE_TOKENS * num_documents)
        if counted is None or 0 <= counted <= most:
            return counted
        self._warn(query_id, total_tokens=counted, expected=f"0 to {most}")
        return None

    def _warn(self, query_id: Id, **found: object) -> None:
        """Warn of an impossible count, once."""
        if not self._has_warned:
            self._has_warned = True
            log_event(log, logging.WARNING, "usage.ignored", query_id=query_id, **found)
