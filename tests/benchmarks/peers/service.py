"""A rerank service on loopback that counts what it is asked, in the formats of all contestants.

Run it as a process: the first line on stdout is its address; it ends when its stdin is closed. The
last word of a path chooses the format: `text-rerank` (nested), `rerank` (flat), `completions` (the
same question as JSON text in a chat message). A group is known by its query, so that one that is
asked twice is seen to be paid twice. An answer counts when it is sent, whether or not anyone still
listens, as a real service would bill it. The paths that only the benchmark calls begin with `/_`.
"""

import asyncio
import contextlib
import sys
from functools import cache
from typing import Any

import orjson
import uvloop
from aiohttp import web

LATENCY_S = 0.05
BURST = 100


class Service:
    """Answers, refuses what is over the quota, and counts."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._in_flight = 0
        self._generation = 0
        self.reset(None)

    def reset(self, per_s: float | None) -> None:
        """Forget the counts; hold a bucket of `BURST` requests that fills by `per_s`."""
        self._generation += 1
        self._per_s, self._bucket, self._filled_at = per_s, float(BURST), 0.0
        self._groups: set[str] = set()
        self._answered = self._throttled = self._most_in_flight = 0
        self._first_s = self._last_s = 0.0

    def counts(self) -> dict[str, float]:
        """Return requests answered and refused, and seconds from first request to last answer."""
        return {
            "answered": self._answered,
            "groups": len(self._groups),
            "throttled": self._throttled,
            "most_in_flight": self._most_in_flight,
            "active_s": self._last_s - self._first_s,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith("/_"):
            return await self._control(request)
        try:
            body = await request.read()
        except ConnectionError:  # killed while it asked
            return web.Response(status=400)
        if request.method != "POST":
            return web.Response(body=b"{}")  # is it there?
        kind = request.path.rstrip("s").rpartition("/")[2]
        question = _question(kind, orjson.loads(body))
        if question is None:
            return _json(200, {"choices": []})  # a probe, which is no question
        return await self._answer(kind, *question)

    async def _answer(self, kind: str, query: str, num_documents: int) -> web.StreamResponse:
        now, generation = asyncio.get_running_loop().time(), self._generation
        self._first_s = self._first_s or now
        fits = self._takes(now)
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        try:
            await asyncio.sleep(LATENCY_S)  # the network and the model; a refusal has a way too
        finally:
            self._in_flight -= 1
        if generation == self._generation:
            if fits:
                self._answered += 1
                self._groups.add(query)
                self._last_s = asyncio.get_running_loop().time()
            else:
                self._throttled += 1
        async with self._changed:
            self._changed.notify_all()
        if fits:
            return web.Response(body=_answer(kind, num_documents), content_type="application/json")
        return _json(429, _refusal(kind), {"Retry-After": "1"})

    def _takes(self, now: float) -> bool:
        if self._per_s is None:
            return True
        filled = (now - self._filled_at) * self._per_s
        self._bucket, self._filled_at = min(BURST, self._bucket + filled), now
        if self._bucket < 1:
            return False
        self._bucket -= 1
        return True

    async def _control(self, request: web.BaseRequest) -> web.StreamResponse:
        """`/_reset?per_s=`, `/_counts`, and two that wait: `/_answered?count=`, `/_settled`."""
        generation = self._generation
        match request.path:
            case "/_reset":
                per_s = request.query.get("per_s")
                self.reset(float(per_s) if per_s else None)
            case "/_answered":
                count = int(request.query["count"])
                async with self._changed:
                    await self._changed.wait_for(
                        lambda: self._answered >= count or generation != self._generation
                    )
            case "/_settled":
                async with self._changed:
                    await self._changed.wait_for(lambda: not self._in_flight)
        if request.path == "/_reset":
            async with self._changed:
                self._changed.notify_all()  # who waits for the old counts waits in vain
        return _json(200, {**self.counts(), "same": generation == self._generation})


def _question(kind: str, body: dict[str, Any]) -> tuple[str, int] | None:
    """Return the query and its number of documents."""
    if kind == "completion":
        if not body.get("messages"):
            return None
        body = orjson.loads(body["messages"][-1]["content"])
    elif kind == "text-rerank":
        body = body["input"]
    return body["query"], len(body["documents"])


@cache
def _answer(kind: str, num_documents: int) -> bytes:
    results = [
        {"index": index, "relevance_score": round(1 - index / (num_documents + 1), 6)}
        for index in range(num_documents)
    ]
    usage = {"prompt_tokens": 5_000, "completion_tokens": 0, "total_tokens": 5_000}
    if kind == "text-rerank":
        return orjson.dumps({"output": {"results": results}, "usage": usage, "request_id": "stub"})
    if kind == "rerank":
        return orjson.dumps({"id": "stub", "model": "m", "results": results, "usage": usage})
    message = {"role": "assistant", "content": orjson.dumps({"results": results}).decode()}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {"id": "stub", "object": "chat.completion", "created": 0, "model": "m"}
    return orjson.dumps({**whole, "choices": [choice], "usage": usage})


def _refusal(kind: str) -> dict[str, Any]:
    message = "Rate limit reached: requests per second"
    if kind == "text-rerank":
        return {"code": "Throttling.RateQuota", "message": message, "request_id": "stub"}
    return {"error": {"message": message, "type": "requests", "code": "rate_limit_exceeded"}}


def _json(status: int, body: Any, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        headers=headers,
        content_type="application/json",
    )


async def serve() -> None:
    """Answer until stdin is closed, at one port of two loopback addresses."""
    runner = web.ServerRunner(web.Server(Service().handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    with contextlib.suppress(OSError):  # elsewhere than on Linux there may be but one
        await web.TCPSite(runner, "127.0.0.2", port).start()
    print(f"http://127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(serve())
