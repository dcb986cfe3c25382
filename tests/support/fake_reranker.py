"""A rerank service on loopback that plays a script, for tests of the client.

Each call plays the next step of the script; after the last step every call is served, or plays one
step for ever.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

PATH = "/api/v1/services/rerank/text-rerank/text-rerank"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: status, body (JSON unless it is bytes) and headers."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


Fixed: TypeAlias = int | str | Reply
"""A status, a fault ("reset", "cut", "nonsense", "hang"), or a reply."""

Step: TypeAlias = Fixed | Callable[[dict[str, Any]], Fixed]
"""The same, or a function of the body."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it was received."""

    at: float
    body: dict[str, Any]
    headers: dict[str, str]
    peer: object


class FakeReranker:
    """Serves the native wire format: a document's score is 1 / (1 + its index)."""

    def __init__(self, *script: Step, otherwise: Step = 200, latency_s: float = 0.0) -> None:
        self.script = list(script)
        self.otherwise = otherwise
        self.latency_s = latency_s
        self.calls: list[Call] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self._release = asyncio.Event()

    @property
    def url(self) -> str:
        return str(self._server.make_url(PATH))

    def release(self) -> None:
        """Serve every call that hangs."""
        self._release.set()

    async def __aenter__(self) -> "FakeReranker":
        app = web.Application(client_max_size=2**26)
        app.router.add_post(PATH, self._answer)
        self._server = TestServer(app)
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._release.set()
        await self._server.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        body = orjson.loads(await request.read())
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")
        self.calls.append(Call(now, body, dict(request.headers), peer))
        step = self.script.pop(0) if self.script else self.otherwise
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            return await self._play(step(body) if callable(step) else step, request, body)
        finally:
            self.in_flight -= 1

    async def _play(self, step: Fixed, request: web.Request, body: Any) -> web.StreamResponse:
        match step:
            case "reset":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case "nonsense":
                assert isinstance(request.transport, asyncio.WriteTransport)
                request.transport.write(b"SMTP 220 hello\r\n\r\n")
                request.transport.close()
                return web.Response()
            case "cut":
                response = web.StreamResponse(headers={"Content-Length": "1000"})
                await response.prepare(request)
                await response.write(b'{"output":')
                assert request.transport is not None
                request.transport.close()
                return response
            case "hang":
                await self._release.wait()
                step = 200
        if step == 200:
            step = Reply(200, served(body))
        elif isinstance(step, int):
            step = Reply(step, error_body(step))
        assert isinstance(step, Reply)
        content = step.body if isinstance(step.body, bytes) else orjson.dumps(step.body)
        headers = {"Content-Type": "application/json", **step.headers}
        return web.Response(status=step.status, body=content, headers=headers)


CODES = {
    400: "InvalidParameter",
    401: "InvalidApiKey",
    429: "Throttling.RateQuota",
    500: "InternalError",
    503: "ModelUnavailable",
}


def error_body(status: int) -> dict[str, str]:
    code = CODES.get(status, "SomethingElse")
    return {"code": code, "message": f"refused with {status}", "request_id": "r"}


def served(body: dict[str, Any]) -> dict[str, Any]:
    """Return a complete answer: the best document first, as the service sorts them."""
    documents = body["input"]["documents"]
    results = [
        {"index": index, "relevance_score": 1 / (1 + index)} for index in range(len(documents))
    ]
    tokens = sum(len(text) for text in documents)
    return {"output": {"results": results}, "usage": {"total_tokens": tokens}, "request_id": "r"}
