"""Requests that are written past aiohttp's own, against servers that write raw bytes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from pipeline.service.direct_post import KEPT_S, NEW_ONES_S, DirectPost

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class RawServer:
    """Answers each request on a connection with the next bytes of the script.

    Args:
        script: What is written for each request; afterwards `OK`.
        closes: Whether each answer ends its connection.
        unasked: What is written after the first answer, once `answering` is set again.
    """

    def __init__(self, *script: bytes, closes: bool = False, unasked: bytes = b"") -> None:
        self.script = list(script)
        self.closes = closes
        self.unasked = unasked
        self.num_connections = 0
        self.received: list[bytes] = []
        self.peers: list[object] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self._one_closed = asyncio.Condition()
        self._open: set[asyncio.StreamWriter] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        self._open.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].split()[0])
                self.received.append(await reader.readexactly(size))
                self.peers.append(writer.get_extra_info("peername"))
                await self.answering.wait()
                writer.write(self.script.pop(0) if self.script else OK)
                if self.closes:
                    break
                if self.unasked:
                    self.answering.clear()
                    await self.answering.wait()
                    writer.write(self.unasked)
                    self.unasked = b""
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self._open.remove(writer)
            async with self._one_closed:
                self._one_closed.notify_all()

    def close_all(self) -> None:
        """Close all connections."""
        for writer in self._open:
            writer.close()

    async def wait_open(self, most: int) -> None:
        """Wait until no more connections than so many are left."""
        async with self._one_closed:
            await self._one_closed.wait_for(lambda: len(self._open) <= most)


@asynccontextmanager
async def posting(server: RawServer) -> AsyncIterator[DirectPost]:
    """Run the server, and yield what asks it."""
    async with await asyncio.start_server(server.answer, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            direct = DirectPost(session, URL(f"http://127.0.0.1:{port}/rerank?a=%20b"))
            yield direct
            direct.close()
        await server.wait_open(0)


async def whole(status: int, headers: Mapping[str, str], content: aiohttp.StreamReader) -> bytes:
    return await content.read()


async def test_the_head_is_the_one_that_a_session_would_send() -> None:
    heads: list[tuple[str, str, tuple[Any, ...], bytes]] = []

    async def note(request: web.Request) -> web.Response:
        fields = tuple(sorted(request.headers.items()))
        heads.append((request.method, request.path_qs, fields, await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/{tail:.*}", note)
    headers = {"Content-Type": "application/json", "Authorization": "Bearer key", "X-A": "é"}
    async with TestServer(app) as server:
        url = server.make_url("/rerank/ü").with_query({"a": "b c", "d": "&"})
        async with aiohttp.ClientSession(headers=headers) as session:
            direct = DirectPost(session, url)
            await direct.send(b"{}", whole)
            direct.close()
            async with session.post(url, data=b"{}"):
                pass

    assert heads[0] == heads[1]
    assert heads[0][3] == b"{}"


async def test_a_connection_is_used_again() -> None:
    server = RawServer()
    async with posting(server) as direct:
        answers = [await direct.send(b"%d" % number, whole) for number in range(5)]

    assert [(status, body) for status, _, body in answers] == [(200, b"ok")] * 5
    assert server.received == [b"0", b"1", b"2", b"3", b"4"]
    assert server.num_connections == 1


async def test_the_connection_that_was_used_last_is_used_first() -> None:
    server = RawServer()
    async with posting(server) as direct:
        await asyncio.gather(*(direct.send(b"x", whole) for _ in range(4)))
        for _ in range(8):
            await direct.send(b"x", whole)
        peers = server.peers[4:]

    assert server.num_connections == 4
    assert len(set(peers)) == 1


async def test_a_connection_that_was_idle_for_long_is_closed(monkeypatch) -> None:
    server = RawServer()
    async with posting(server) as direct:
        now = asyncio.get_running_loop().time()
        monkeypatch.setattr(direct, "_now", lambda: now)
        await asyncio.gather(*(direct.send(b"x", whole) for _ in range(3)))
        now += KEPT_S
        await direct.send(b"x", whole)
        assert server.num_connections == 3
        now += KEPT_S / 2
        await direct.send(b"x", whole)
        assert server.num_connections == 3
        await server.wait_open(1)  # the one that was used since
        now += 2 * KEPT_S
        await direct.send(b"x", whole)

    assert server.num_connections == 4


async def test_a_connection_that_the_service_closed_is_replaced() -> None:
    server = RawServer()
    async with posting(server) as direct:
        await asyncio.gather(*(direct.send(b"x", whole) for _ in range(3)))
        server.close_all()
        await server.wait_open(0)
        for _ in range(100):  # turns of the event loop, in which it is noticed
            await asyncio.sleep(0)
        answers = [(await direct.send(b"x", whole))[2] for _ in range(2)]

    assert answers == [b"ok", b"ok"]
    assert server.num_connections == 4


async def test_an_answer_that_ends_its_connection_is_the_last_on_it() -> None:
    last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    server = RawServer(last, last)
    async with posting(server) as direct:
        answers = [(await direct.send(b"x", whole))[2] for _ in range(3)]

    assert answers == [b"ok"] * 3
    assert server.num_connections == 3


@pytest.mark.parametrize("code", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
async def test_what_comes_before_the_answer_is_passed_over(code) -> None:
    server = RawServer(b"HTTP/1.1 " + code + b"\r\n\r\n" + OK)
    async with posting(server) as direct:
        status, _, body = await direct.send(b"x", whole)

    assert (status, body) == (200, b"ok")


async def test_an_answer_may_end_with_its_connection() -> None:
    server = RawServer(b"HTTP/1.1 200 OK\r\n\r\nto the end", closes=True)
    async with posting(server) as direct:
        assert (await direct.send(b"x", whole))[2] == b"to the end"
        assert (await direct.send(b"x", whole))[2] == b"ok"

    assert server.num_connections == 2


async def test_an_answer_that_came_too_late_is_not_taken_for_the_next_one() -> None:
    server = RawServer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
    server.answering.clear()
    async with posting(server) as direct:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await direct.send(b"first", whole)
        server.answering.set()
        answer = await direct.send(b"second", whole)

    assert answer[2] == b"ok"
    assert server.num_connections == 2


async def test_a_second_answer_to_one_request_is_not_taken_for_the_next_one() -> None:
    more = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmore"
    server = RawServer(OK + more)
    async with posting(server) as direct:
        answers = [(await direct.send(b"x", whole))[2] for _ in range(2)]

    assert answers == [b"ok", b"ok"]
    assert server.num_connections == 2


async def test_a_connection_whose_answer_was_not_read_to_its_end_is_closed() -> None:
    server = RawServer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nstart")

    async def start(_: int, __: Mapping[str, str], content: aiohttp.StreamReader) -> bytes:
        return await content.readany()

    async with posting(server) as direct:
        assert (await direct.send(b"x", start))[2] == b"start"
        assert (await direct.send(b"x", whole))[2] == b"ok"

    assert server.num_connections == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", aiohttp.ClientPayloadError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", aiohttp.ClientPayloadError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", aiohttp.ClientPayloadError),
        (b"", aiohttp.ServerDisconnectedError),
        (b"HTTP/1.1 200 OK\r\nConte", aiohttp.ServerDisconnectedError),
    ],
)
async def test_an_answer_that_breaks_off_or_is_no_http_is_an_error_of_aiohttp(
    answer, error
) -> None:
    server = RawServer(answer, closes=True)
    async with posting(server) as direct:
        with pytest.raises(error):
            await direct.send(b"x", whole)


async def test_a_body_is_sent_that_the_service_reads_slowly() -> None:
    server, body = RawServer(), bytes(range(256)) * 4_000
    async with posting(server) as direct:
        await asyncio.gather(*(direct.send(body, whole) for _ in range(4)))

    assert server.received == [body] * 4


async def test_what_comes_unasked_on_an_idle_connection_is_taken_for_no_answer() -> None:
    server = RawServer(unasked=b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nunasked")
    async with posting(server) as direct:
        assert (await direct.send(b"", whole))[2] == b"ok"
        server.answering.set()
        for _ in range(100):  # turns of the event loop, in which it arrives
            await asyncio.sleep(0)

        answers = [(await direct.send(b"", whole))[2] for _ in range(2)]

    assert answers == [b"ok", b"ok"]
    assert server.num_connections == 3


async def test_no_connection_is_kept_for_a_while_after_one_was_lost_under_a_request(
    monkeypatch,
) -> None:
    server = RawServer(OK, b"")
    async with posting(server) as direct:
        now = asyncio.get_running_loop().time()
        monkeypatch.setattr(direct, "_now", lambda: now)
        await direct.send(b"x", whole)
        server.closes = True
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await direct.send(b"x", whole)
        server.closes = False
        for _ in range(3):
            await direct.send(b"x", whole)
        assert server.num_connections == 4
        now += NEW_ONES_S
        for _ in range(3):
            await direct.send(b"x", whole)

    assert server.num_connections == 5


async def test_a_new_connection_that_is_lost_changes_nothing_for_those_that_are_kept() -> None:
    server = RawServer(b"", closes=True)
    async with posting(server) as direct:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await direct.send(b"x", whole)
        server.closes = False
        for _ in range(3):
            await direct.send(b"x", whole)

    assert server.num_connections == 2
