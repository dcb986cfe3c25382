"""The HTTP service: checks key, quota, shape, limits and faults of a request, and answers it."""

import asyncio
import json
import time
import uuid
from functools import partial
from random import Random
from typing import Any

import orjson
from aiohttp import web

from jobs.emulator import connection_faults, refusals
from jobs.emulator.config import EmulatorConfig
from jobs.emulator.faults import ANSWERS, HTML, POISON_MARKER, REFUSALS, FaultPlan
from jobs.emulator.model import Model
from jobs.emulator.quota import Quota
from jobs.emulator.refusals import Refusal
from jobs.emulator.sliding_window import Clock
from jobs.emulator.stats import Stats
from jobs.emulator.vendor_formats import vendor_endpoints
from jobs.emulator.wire_formats import COMPATIBLE, NATIVE, Answer, Endpoint, RerankRequest

_MAX_BODY_BYTES = 16 * 1024 * 1024  # page `text-rerank-api`, read 2026-11-21
_HTML_PAGE = "<html><head><title>Bad Gateway</title></head><body>nginx</body></html>"


class Emulator:
    """One service with its quotas, faults and counts.

    Args:
        config: How it behaves.
        clock: Seconds, for quotas and counts.
    """

    def __init__(self, config: EmulatorConfig, clock: Clock = time.monotonic) -> None:
        self.stats = Stats(clock)
        self._config = config
        self._requests = Quota(config.requests_per_minute, clock, config.clock_jitter_s)
        self._tokens = Quota(config.tokens_per_minute, clock, config.clock_jitter_s)
        self._plan = FaultPlan(config.faults, config.fail_rate, config.seed)
        self._model = Model(config)
        self._random = Random(config.seed)
        self._closing = asyncio.Event()

    def app(self) -> web.Application:
        """Return the application with the service's paths and the emulator's own."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        for endpoint in (NATIVE, COMPATIBLE, *vendor_endpoints(self._config.format)):
            app.router.add_post(endpoint.path, partial(self._handle, endpoint))
        app.router.add_get("/emulator/stats", self._show_stats)
        app.on_shutdown.append(self._begin_closing)
        app.on_cleanup.append(self._end)
        return app

    async def _handle(self, endpoint: Endpoint, http_request: web.Request) -> web.Response:
        request_id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        outcome = "abandoned"
        with self.stats.request():
            try:
                response = await self._answer(endpoint, http_request, request_id)
                outcome = str(response.status)
            except Refusal as refusal:
                response = _json(endpoint.refuse(refusal, request_id), refusal.status)
                outcome = str(refusal.status)
            except web.HTTPRequestEntityTooLarge as error:
                response = web.Response(status=error.status, text=error.reason)
                outcome = str(error.status)
            except connection_faults.Dropped:
                response = web.Response()  # not sent: the connection is closed
                outcome = "reset"
            finally:
                self.stats.by_status[outcome] += 1
        response.headers["x-request-id"] = request_id
        return response

    async def _answer(
        self, endpoint: Endpoint, http_request: web.Request, request_id: str
    ) -> web.Response:
        arrival = time.monotonic()
        body = await http_request.read()
        self._check_key(http_request, endpoint)
        if not self._requests.take():
            raise refusals.too_many_requests()
        request = endpoint.parse(body)
        taken = await self._model.read(request, endpoint.limits(request.model))
        if not self._tokens.take(taken.tokens):
            raise refusals.too_many_tokens_per_minute()

        fault = self._plan.draw(taken.content, is_poisoned=_is_poisoned(request))
        if fault in REFUSALS:
            raise REFUSALS[fault]()
        if fault in HTML:
            return web.Response(status=HTML[fault], text=_HTML_PAGE, content_type="text/html")
        if fault == "reset-before":
            connection_faults.reset(http_request)
        if fault == "hang":
            await connection_faults.hang(http_request, self._closing)

        results = rank(request, await self._model.score(taken))
        self.stats.documents += len(request.documents)
        self.stats.total_tokens += taken.tokens
        self.stats.search_units += taken.search_units
        await asyncio.sleep(self._config.latency_ms / 1_000 - (time.monotonic() - arrival))
        if fault in ANSWERS:
            results = ANSWERS[fault](results)
        answer = endpoint.answer(
            Answer(request_id, request.model, results, taken.tokens, taken.search_units)
        )
        # orjson has no NaN
        data = json.dumps(answer).encode() if fault == "nan" else orjson.dumps(answer)
        if fault == "reset-during":
            await connection_faults.reset_during(http_request, data)
        if fault == "truncated-json":
            data = data[: len(data) // 2]
        if fault is None:
            self._plan.forget(taken.content)
        return web.Response(body=data, content_type="application/json")

    def _check_key(self, http_request: web.Request, endpoint: Endpoint) -> None:
        if self._config.api_key is None and not endpoint.needs_key:
            return
        scheme, _, key = http_request.headers.get("Authorization", "").partition(" ")
        is_right = key == self._config.api_key if self._config.api_key else bool(key.strip())
        if scheme.lower() != "bearer" or not is_right:
            raise refusals.wrong_key()

    async def _show_stats(self, http_request: web.Request) -> web.Response:
        return _json(self.stats.as_dict())

    async def _begin_closing(self, app: web.Application) -> None:
        self._closing.set()

    async def _end(self, app: web.Application) -> None:
        self._model.close()


def rank(request: RerankRequest, scores: list[float]) -> list[dict[str, Any]]:
    """Return at most `top_n` results, best first; equal scores keep the request's order."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": scores[index]} for index in order
    ]
    if request.return_documents:
        for result, (kind, content) in zip(
            results, (request.documents[index] for index in order), strict=True
        ):
            result["document"] = {kind: content}
    return results[: request.top_n]


def _is_poisoned(request: RerankRequest) -> bool:
    return any(POISON_MARKER in document.content for document in request.documents)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
