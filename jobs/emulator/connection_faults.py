"""Faults of the connection: reset it, close it midway, or never answer (`faults.CONNECTION`)."""

import asyncio
import socket
import struct
from typing import NoReturn

from aiohttp import web

_NO_LINGER = struct.pack("ii", 1, 0)  # close() sends RST instead of FIN


class Dropped(Exception):
    """The connection is closed, and nothing more can be sent on it."""


def reset(http_request: web.Request) -> NoReturn:
    """Reset the connection before a byte is sent.

    Raises:
        Dropped: always.
    """
    if (transport := http_request.transport) is not None:
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
        )
        transport.abort()
    raise Dropped


async def reset_during(http_request: web.Request, body: bytes) -> NoReturn:
    """Announce the whole body, send half of it, and close the connection.

    Raises:
        Dropped: always.
    """
    response = web.StreamResponse(headers={"Content-Length": str(len(body))})
    response.content_type = "application/json"
    await response.prepare(http_request)
    await response.write(body[: len(body) // 2])
    if http_request.transport is not None:
        http_request.transport.abort()
    raise Dropped


async def hang(http_request: web.Request, until: asyncio.Event) -> NoReturn:
    """Never answer: wait until the client gives up or the service ends, then reset the connection.

    Raises:
        Dropped: at the end of the service.
    """
    await until.wait()
    reset(http_request)
