"""Keep candidates' texts and keys out of messages that a service sends back.

An error body may repeat its request, and messages end in logs and in `_rejects`.
"""

from collections.abc import Iterator
from typing import Final

from pipeline.core.content import text_or_url
from pipeline.core.errors import shorten
from pipeline.core.records import Request

_WITHHELD: Final = "(message withheld: it repeats the request)"
_PIECE: Final = 16
_STEP: Final = 8
"""Any 24 characters in a row that message and text share are found."""


def redact(message: str, request: Request, api_key: str | None) -> str:
    """Return the message, shortened; a notice if it holds the key or a piece of the request."""
    message = shorten(message)
    if not message:
        return message
    if api_key and api_key in message:
        return _WITHHELD
    pieces = [message[i : i + _PIECE] for i in range(0, len(message) - _PIECE + 1, _STEP)]
    for text in _texts(request):
        line = " ".join(text.split())
        if line in message if len(line) < _PIECE else any(piece in line for piece in pieces):
            return _WITHHELD
    return message


def _texts(request: Request) -> Iterator[str]:
    """Yield the texts that reveal something; two or three letters occur in any message."""
    for text in map(text_or_url, (request.query, *request.documents)):
        if len(text.strip()) > 3:
            yield text
