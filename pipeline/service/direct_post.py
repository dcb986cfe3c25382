"""POST small bodies over the connections of an aiohttp session, without its work for each request.

For each request a session makes headers, objects for the request and its answer, and a task that
writes the body, which takes more CPU than all else in this room. Here the requests differ in their
bodies alone. So their head is made once, a request is one write, and a connection goes from one
request to the next without aiohttp's pool. aiohttp opens and closes the connections and parses the
answers, as for any other request. The methods that are called for that are not among those that it
documents; its versions 3.12 to 3.14 have them.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

Answer: TypeAlias = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body."""

Read: TypeAlias = Callable[[int, Mapping[str, str], aiohttp.StreamReader], Awaitable[bytes]]
"""Reads the body of an answer of this status and these headers."""

KEPT_S: Final = 15.0
"""How long an idle connection is kept; aiohttp's default. Firewalls and load balancers drop idle
connections silently, and a request on such a connection would wait for its time-out."""

NEW_ONES_S: Final = 10.0
"""How long every request opens a new connection after a kept one was lost during a request. Some
services close connections shortly after an answer without announcing it."""

_CONTENT_LENGTH = "Content-Length"
_SWITCHING_PROTOCOLS, _OK = 101, 200


class DirectPost:
    """Sends POST requests to one address; made and used on one event loop.

    Args:
        session: Its connections and its headers are used; it must have no proxy.
        url: Where to; its scheme is `http` or `https`.
    """

    def __init__(self, session: aiohttp.ClientSession, url: URL) -> None:
        assert session.connector is not None
        self._connector = session.connector
        self._timeout = session.timeout
        self._now = asyncio.get_running_loop().time
        # Idle connections, each with the time of its last answer, oldest first.
        self._idle: deque[tuple[Connection, float]] = deque()
        self._kept_again_at = self._now()
        # Says which connection is wanted, and which headers aiohttp would send.
        self._like = aiohttp.ClientRequest(
            "POST", url, headers=session.headers, session=session, loop=asyncio.get_running_loop()
        )
        headers = self._like.headers.items()
        lines = [f"{name}: {value}\r\n" for name, value in headers if name != _CONTENT_LENGTH]
        head = f"POST {url.raw_path_qs} HTTP/1.1\r\n{''.join(lines)}{_CONTENT_LENGTH}: "
        self._head = head.encode()

    async def send(self, body: bytes, read: Read) -> Answer:
        """Send a request and return its answer, with what `read` made of the body.

        A connection whose answer was read to its end is used again.

        Raises:
            aiohttp.ClientError: as `ClientSession.post` does.
        """
        kept = self._take()
        connection = kept or await self._open()
        protocol = connection.protocol
        assert protocol is not None
        assert protocol.transport is not None, "the connection is open"
        try:
            protocol.transport.writelines((b"%b%d\r\n\r\n" % (self._head, len(body)), body))
            del body  # the connection holds what it could not send yet
            try:
                message, content = await protocol.read()
            except (aiohttp.ClientError, OSError):
                if kept is not None:
                    self._keep_none_for_now()
                raise
            while message.code < _OK and message.code != _SWITCHING_PROTOCOLS:
                message, content = await protocol.read()
            answer = (
                message.code,
                message.headers,
                await read(message.code, message.headers, content),
            )
        except HttpProcessingError:
            connection.close()
            raise aiohttp.ClientPayloadError("no HTTP") from None
        except BaseException:  # a cancellation too: its answer may still come
            connection.close()
            raise
        self._keep(connection)
        return answer

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.popleft()[0].close()

    async def _open(self) -> Connection:
        """Return a new connection, whose parser reads all answers that come on it."""
        try:
            connection = await self._connector.connect(self._like, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        if not _is_usable(connection):
            connection.close()  # it was lost, or the service spoke out of turn
            raise aiohttp.ClientConnectionResetError
        assert connection.protocol is not None
        connection.protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        return connection

    def _take(self) -> Connection | None:
        """Return the connection that was used last, if one is kept and nothing came on it since."""
        oldest = self._now() - KEPT_S
        while self._idle and self._idle[0][1] < oldest:
            self._idle.popleft()[0].close()
        while self._idle:
            connection, _ = self._idle.pop()
            if _is_usable(connection):
                return connection
            if not connection.closed:  # more may come unasked, and would be taken for an answer
                self._keep_none_for_now()
            connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        """Keep a connection for the next request, unless the answer ends it."""
        if _is_usable(connection) and self._now() >= self._kept_again_at:
            self._idle.append((connection, self._now()))
        else:
            connection.close()

    def _keep_none_for_now(self) -> None:
        self._kept_again_at = self._now() + NEW_ONES_S
        self.close()


def _is_usable(connection: Connection) -> bool:
    """Return whether a connection is open, and nothing has come on it but answers."""
    protocol = connection.protocol
    return not connection.closed and protocol is not None and not protocol.should_close
