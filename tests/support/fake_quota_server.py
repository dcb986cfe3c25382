"""A quota server on loopback that answers as a test says, and keeps what it was asked."""

from dataclasses import dataclass

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from pipeline.service.throttle.leases.messages import Ask, Grant


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it was received."""

    url: str
    headers: dict[str, str]
    ask: Ask


class FakeQuotaServer:
    """Answers every request alike.

    Args:
        answer: What it grants, or the body that it sends instead.
        status: Of its answers.
        headers: Of its answers.

    Attributes:
        url: Its address: scheme, host and port.
        asked: What it was asked, in order.
    """

    def __init__(
        self, answer: Grant | bytes = b"", status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self._body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        self._status, self._headers = status, headers
        self.asked: list[Asked] = []

    async def __aenter__(self) -> "FakeQuotaServer":
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._server = TestServer(app)
        await self._server.start_server()
        self.url = f"http://127.0.0.1:{self._server.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    async def _answer(self, request: web.Request) -> web.Response:
        ask = msgspec.json.decode(await request.read(), type=Ask)
        self.asked.append(Asked(request.raw_path, dict(request.headers), ask))
        return web.Response(body=self._body, status=self._status, headers=self._headers)
