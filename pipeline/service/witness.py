"""The witness: a request that the service is known to serve, sent to learn whether it still does.

Its answer is used for nothing else: it is neither ranked nor stored. A witness is paced and paid
for like any request.
"""

import math
from typing import Final

from msgspec.structs import replace

from pipeline.core.json_texts import JsonTexts
from pipeline.core.records import Request

TINY: Final = Request(
    query="What is the capital of France?",
    documents=["Paris is the capital of France.", "A kilogram has a thousand grams."],
    tokens=80,
    key=bytes(24),
    scope=b"",
    query_id="witness",
)
"""Two known texts, for a service that has served nothing yet; about 30 tokens."""


class Witness:
    """Remembers the smallest request that was served."""

    def __init__(self) -> None:
        self._smallest = TINY
        self._size: float = math.inf

    def offer(self, request: Request) -> None:
        """Remember a request that was served, if it is smaller than those before."""
        if request.tokens < self._size:
            if not isinstance(request.documents, JsonTexts):
                # Copies, which do not keep the whole batch in memory.
                request = replace(request, documents=list(request.documents))
            self._smallest, self._size = request, request.tokens

    def request(self, earlier: int) -> Request:
        """Return what to send.

        Args:
            earlier: Witnesses that failed in this outage. Every other time the tiny request is
                sent, since the service may have begun to refuse the remembered one alone.
        """
        return TINY if earlier % 2 else self._smallest

    def record_served(self, witness: Request, earlier: int) -> None:
        """Forget the remembered request if the tiny one was served and the other was not."""
        if witness is TINY and earlier:
            self._smallest, self._size = TINY, TINY.tokens
