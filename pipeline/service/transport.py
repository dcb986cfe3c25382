"""Send one request over HTTP, once.

Whatever goes wrong on the wire leaves here as one of our errors. How often a request is sent is up
to the client.
"""

import asyncio
import io
import logging
import time
import zlib
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Final, Protocol, Self

import aiohttp
from msgspec import Struct, structs
from yarl import URL

from pipeline.core.errors import SettingsError
from pipeline.core.events import log_event
from pipeline.core.records import Request, Scores
from pipeline.core.settings import DEFAULT_TIMEOUT_S
from pipeline.service.answer_body import max_answer_bytes, read_answer, read_start
from pipeline.service.direct_post import Answer, DirectPost, Read
from pipeline.service.http_errors import safe_cause, translate_error
from pipeline.service.shared_timeout import SharedTimeout
from pipeline.service.wire.redaction import Redactor, TakesLong
from pipeline.service.wire.wire_format import WireFormat

log = logging.getLogger(__name__)

_LARGE_BODY: Final = 2**20

_LARGE_TO_REDACT: Final = 2**15
"""Bytes of a request; to compare a message with a larger one takes more than a few milliseconds."""


class Transport(Protocol):
    """What carries a request to a service and its answer back."""

    async def send(self, request: Request) -> Scores:
        """Send the request once and return its scores.

        Raises:
            RequestError: if it got none; failures without an answer have a code of `failures`.
            ServiceRefused: if the service refuses every request for good.
        """
        ...


class Timeouts(Struct, frozen=True, kw_only=True):
    """How long one attempt may take, in seconds.

    Attributes:
        connect_s: To open a connection.
        total_s: From the first byte sent to the last byte received, connecting included.
    """

    connect_s: float = 10.0
    total_s: float = DEFAULT_TIMEOUT_S

    @classmethod
    def of_total(cls, total_s: float) -> "Timeouts":
        """Return the usual time to connect, or half of the total if that is less."""
        return cls(connect_s=min(cls().connect_s, total_s / 2), total_s=total_s)


class HttpTransport:
    """Ask one endpoint; an async context manager that holds the connections.

    Args:
        url: The full address of the endpoint.
        wire: How the endpoint is asked and answers.
        model: The model to ask.
        instruct: The instruction for the model; None for the model's own.
        fps: Frames per second at which it samples videos; None for its own default.
        api_key: The key; None if the service takes none. Never shown.
        proxy: The address of the HTTP proxy that connections are opened by; None for none. Its
            password is never shown.
        timeouts: How long an attempt may take.

    Raises:
        SettingsError: if the address cannot be parsed, or the endpoint takes no instruction or
            number of frames.
    """

    def __init__(
        self,
        url: str,
        wire: WireFormat,
        *,
        model: str,
        instruct: str | None = None,
        fps: float | None = None,
        api_key: str | None = None,
        proxy: str | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        if instruct is not None and wire.takes.instruct is None:
            raise SettingsError(
                f"the wire format {wire.name} takes no instruction",
                which="--instruct",
                cure="leave it out or choose another --provider",
            )
        if fps is not None and wire.takes.fps is None:
            raise SettingsError(
                f"the wire format {wire.name} takes no frames per second",
                which="--fps",
                cure="leave it out or choose another --provider",
            )
        self._url = _parse(url)
        self._proxy = None if proxy is None else URL(proxy)
        self._wire = wire
        self._model = model
        self._instruct = instruct
        self._fps = fps
        self._api_key = api_key
        self._redactor = Redactor(api_key)
        self._direct: DirectPost | None = None
        self._timeouts = timeouts or Timeouts()
        self._total_timeout = SharedTimeout(self._timeouts.total_s)

    async def __aenter__(self) -> Self:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        headers |= self._wire.auth_headers(self._api_key)
        self._session = aiohttp.ClientSession(
            # The throttle bounds what is in flight, and its bound may change during the run.
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            proxy=self._proxy,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect_s),
        )
        if self._proxy is None and self._url.host and self._url.scheme in ("http", "https"):
            self._direct = DirectPost(self._session, self._url)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._direct is not None:
            self._direct.close()
        await self._session.close()

    async def send(self, request: Request) -> Scores:
        """Send the request once, as `Transport` promises; redirects are refused, not followed."""
        if request.image_tokens:  # files are written in base64, which may take long
            body = await asyncio.to_thread(self._encode, request)
        else:
            body = self._wire.encode(request, self._model, self._instruct)
        body_bytes = len(body)
        read = partial(_read, max_bytes=max_answer_bytes(request.num_documents, body_bytes))
        if self._direct is not None and body_bytes <= _LARGE_BODY:
            exchange = self._direct.send(body, read)
        else:
            exchange = self._send_by_session(body, read)
        del body  # what is sent is freed: hundreds of requests may wait for their answers
        sent_at = time.perf_counter()
        try:
            with self._total_timeout.begin():
                status, headers, content = await exchange
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            raise translate_error(error, self._where()) from safe_cause(error)
        if log.isEnabledFor(logging.DEBUG):
            log_event(
                log,
                logging.DEBUG,
                "request.answered",
                query_id=request.query_id,
                documents=request.num_documents,
                status=status,
                latency_ms=round(1_000 * (time.perf_counter() - sent_at)),
            )
        interpret = partial(self._interpret, request, status, content, headers)
        if body_bytes <= _LARGE_TO_REDACT:
            return interpret()
        try:
            return interpret(may_take_long=False)
        except TakesLong:
            return await asyncio.to_thread(interpret)

    async def _send_by_session(self, body: bytes, read: Read) -> Answer:
        """Send a body that is large, or by a proxy: in pieces, so that the event loop turns."""
        async with self._session.post(
            self._url, data=io.BytesIO(body), allow_redirects=False
        ) as response:
            status, headers = response.status, response.headers
            return status, headers, await read(status, headers, response.content)

    def _encode(self, request: Request) -> bytes:
        return self._wire.encode(request, self._model, self._instruct, self._fps)

    def _interpret(
        self,
        request: Request,
        status: int,
        content: bytes,
        headers: Mapping[str, str],
        *,
        may_take_long: bool = True,
    ) -> Scores:
        """Return the scores of an answer, or raise its error.

        Raises:
            TakesLong: if a message must be redacted, and that may not take long.
        """
        clean = partial(self._redactor.message, request=request, may_take_long=may_take_long)
        if status // 100 != 2:
            raise self._wire.classify(status, content, headers, clean=clean)
        scores = self._wire.decode(content, request.num_documents, clean=clean)
        if self._redactor.is_plain_id(scores.response_id):
            return scores
        response_id = self._redactor.response_id(
            scores.response_id, request, may_take_long=may_take_long
        )
        if response_id != scores.response_id:
            return structs.replace(scores, response_id=response_id)
        return scores

    def _where(self) -> str:
        """Return host and port of the endpoint, and of the proxy."""
        where, proxy = f"{self._url.host}:{self._url.port}", self._proxy
        return where if proxy is None else f"{where} by the proxy {proxy.host}:{proxy.port}"


def _parse(url: str) -> URL:
    try:
        return URL(url)
    except ValueError as error:
        raise SettingsError(f"not a usable address: {error}", which="--url", found=url) from None


async def _read(
    status: int, headers: Mapping[str, str], content: aiohttp.StreamReader, *, max_bytes: int
) -> bytes:
    """Return the body of an answer, or the start of an error's.

    Raises:
        BadAnswer: if the answer is longer than `max_bytes`.
        aiohttp.ClientError: if it breaks off or cannot be decompressed.
    """
    encoding = headers.get("Content-Encoding", "")
    try:
        if status // 100 == 2:
            if not encoding and int(headers.get("Content-Length", max_bytes + 1)) <= max_bytes:
                return content.read_nowait() if content.is_eof() else await content.read()
            return await read_answer(content, encoding, max_bytes)
        start, _ = await read_start(content, encoding)
    except zlib.error as error:
        raise aiohttp.ClientPayloadError("a body that cannot be decompressed") from error
    return start
