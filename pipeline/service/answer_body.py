"""Read the body of an answer, decompressed, and never more of it than is allowed.

A compressed body is inflated piece by piece, so that a few kilobytes cannot become gigabytes in
memory; the connection must not decompress it first.
"""

import zlib
from collections.abc import AsyncIterator
from typing import Final, Protocol

from pipeline.core.errors import BadAnswer

ANSWER_TOO_LARGE: Final = "answer_too_large"
"""The code of an answer that is longer than its request can justify."""

MAX_ERROR_BYTES: Final = 64 * 1024
"""How much of an error body is read."""

_BASE_BYTES: Final = 64 * 1024
_BYTES_PER_DOCUMENT: Final = 1_024
_ECHO_FACTOR: Final = 3
"""Some services repeat the documents; escapes take up to three times the bytes of UTF-8."""

_WBITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 47}


def max_answer_bytes(num_documents: int, request_bytes: int) -> int:
    """Return how long the decompressed answer to a request may be, in bytes."""
    return _BASE_BYTES + _BYTES_PER_DOCUMENT * num_documents + _ECHO_FACTOR * request_bytes


class BodyStream(Protocol):
    """A body as it arrives."""

    async def readany(self) -> bytes:
        """Return what has arrived, or wait for it; nothing at the end."""


async def read_answer(stream: BodyStream, encoding: str, max_bytes: int) -> bytes:
    """Return a whole body, decompressed.

    Args:
        stream: The body.
        encoding: Its `Content-Encoding`.
        max_bytes: How long it may be, decompressed.

    Raises:
        BadAnswer: if it is longer.
        zlib.error: if it is not compressed as it says.
    """
    content, is_whole = await read_start(stream, encoding, max_bytes)
    if not is_whole:
        found = f"more than {max_bytes:,} bytes, which its request does not justify"
        raise BadAnswer(ANSWER_TOO_LARGE, found, status=200)
    return content


async def read_start(
    stream: BodyStream, encoding: str, max_bytes: int = MAX_ERROR_BYTES
) -> tuple[bytes, bool]:
    """Return at most so many bytes of a body, as `read_answer` does, and whether these are all."""
    pieces: list[bytes] = []
    missing = max_bytes
    async for piece in _pieces(stream, encoding.strip().lower(), max_bytes):
        pieces.append(piece[:missing])
        if len(piece) > missing:
            return b"".join(pieces), False
        missing -= len(piece)
    return b"".join(pieces), True


async def _pieces(stream: BodyStream, encoding: str, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the decompressed body; a piece that is inflated is hardly longer than `max_bytes`."""
    if encoding in ("", "identity"):
        while piece := await stream.readany():
            yield piece
        return
    if encoding not in _WBITS:
        raise zlib.error("an encoding that was not asked for")
    inflater = zlib.decompressobj(wbits=_WBITS[encoding])
    while piece := await stream.readany():
        while piece and not inflater.eof:
            yield inflater.decompress(piece, max_bytes + 1)
            piece = inflater.unconsumed_tail
    yield inflater.flush(max_bytes + 1)
    if not inflater.eof:
        raise zlib.error("a compressed body without its end")
