"""Do not believe a token count that no request of that size can have.

A count of 10**12 would stall the pace for years, and be taken for money that was spent. What is
negative, or no number at all, counts as missing too.
"""

import logging
from typing import Final

from msgspec.structs import replace

from pipeline.core.errors import IncompleteAnswer
from pipeline.core.events import log_event
from pipeline.core.groups import Id
from pipeline.core.records import Request, Scores
from pipeline.service.transport import Transport

log = logging.getLogger(__name__)

MOST_TIMES_BOUND: Final = 10
"""A count so many times the bound, template included, is an error of the service."""

_TEMPLATE_TOKENS: Final = 100
"""Instruction and template around each document, which some hosts count."""


class UsageCheck:
    """A transport that passes requests on, and removes impossible token counts from the answers.

    Args:
        transport: Sends the requests.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._has_warned = False

    async def send(self, request: Request) -> Scores:
        """Send the request once, as `Transport` promises; impossible counts are None."""
        bound = request.tokens + _TEMPLATE_TOKENS * request.num_documents
        try:
            scores = await self._transport.send(request)
        except IncompleteAnswer as error:
            error.total_tokens = self._believed(error.total_tokens, bound, request.query_id)
            raise
        counted, units = scores.total_tokens, scores.search_units
        if units is not None and not 0 <= units <= MOST_TIMES_BOUND * (request.search_units or 1):
            scores = replace(scores, search_units=None)
            self._warn(request.query_id, search_units=units)
        believed = self._believed(counted, bound, request.query_id)
        return scores if believed == counted else replace(scores, total_tokens=believed)

    def _believed(self, counted: int | None, bound: int, query_id: Id) -> int | None:
        """Return the count, or None if no request of that bound can have it."""
        if counted is None or 0 <= counted <= MOST_TIMES_BOUND * bound:
            return counted
        expected = f"0 to {MOST_TIMES_BOUND * bound}"
        self._warn(query_id, total_tokens=counted, expected=expected)
        return None

    def _warn(self, query_id: Id, **found: object) -> None:
        """Warn of an impossible count, once."""
        if not self._has_warned:
            self._has_warned = True
            log_event(log, logging.WARNING, "usage.ignored", query_id=query_id, **found)
