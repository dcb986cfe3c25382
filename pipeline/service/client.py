"""One request to its scores over HTTP: paced, paid within the budget, tried again where that helps.

The only importer of aiohttp: whatever goes wrong on the wire leaves here as one of our errors. How
often a request is asked is for `attempts` to decide.
"""

import asyncio
import io
import logging
import random
from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from pipeline.core.errors import RerankError, ServiceRefused, SettingsError, Transient
from pipeline.core.records import Request, Scores
from pipeline.core.settings import RunSettings
from pipeline.service.attempts import CONNECTION_LOST, TIMEOUT, Attempts
from pipeline.service.circuit_breaker import UNREACHABLE
from pipeline.service.metrics import Metrics
from pipeline.service.shared_timeout import SharedTimeout
from pipeline.service.throttle.throttle import Throttle
from pipeline.service.wire.formats import WIRE_FORMATS
from pipeline.service.wire.redaction import redact
from pipeline.service.wire.refusals import classify

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 10.0
TOTAL_TIMEOUT_S: Final = 120.0
MAX_ERROR_BYTES: Final = 64 * 1024
"""How much of an error body is read."""

_LARGE_BODY: Final = 2**20


class RerankClient:
    """Asks one service; an async context manager that holds the connections.

    Args:
        settings: Address, wire format, model, attempts, allowed outage and cost.
        api_key: The key; None if the service takes none. Never shown.
        throttle: The pace, shared by all that use the same account.
        counters: Where attempts, tokens and money are counted.
        clock: Seconds, never going back; the event loop's own by default.
        sleep: Waits so many seconds before another attempt; by default `stop` cuts the wait short.
        uniform: A random number from 0 to 1, for the jitter.
        total_timeout_s: How long one attempt may take.
    """

    def __init__(
        self,
        settings: RunSettings,
        api_key: str | None,
        throttle: Throttle,
        counters: Metrics,
        *,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        uniform: Callable[[], float] = random.random,
        total_timeout_s: float = TOTAL_TIMEOUT_S,
    ) -> None:
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise SettingsError(
                "the key holds characters that cannot be sent", which=settings.provider.api_key_env
            )
        self._settings = settings
        self._api_key = api_key
        self._throttle = throttle
        self._counters = counters
        self._own_clock = clock
        self._wire = WIRE_FORMATS[settings.provider.wire_format]
        self._url = _usable(settings.url)
        self._time_limit = SharedTimeout(total_timeout_s)
        self._attempts = Attempts(
            settings,
            self._ask,
            throttle,
            counters,
            clock=lambda: self._clock(),
            sleep=sleep,
            uniform=uniform,
        )

    @cached_property
    def _clock(self) -> Callable[[], float]:
        return self._own_clock or asyncio.get_running_loop().time

    async def __aenter__(self) -> Self:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key}"
        self._session = aiohttp.ClientSession(
            # The throttle bounds what is in flight, and its bound may change while running.
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    def target_concurrency(self) -> int:
        """How many requests to ask for at once, so that no slot is empty for lack of one."""
        return self._throttle.max_in_flight + self._attempts.resting

    def stop(self, error: RerankError) -> None:
        """Send nothing more: calls that wait, and all that come, raise `error`.

        What is in flight goes on. Only the first call counts.
        """
        self._attempts.stop(error)

    def score(self, request: Request) -> Awaitable[Scores]:
        """The scores of a request's documents, in its order.

        Transient failures and bad answers are tried again, up to `max_attempts` in all, after a
        random part of 1, 2, 4 ... seconds. A 429 costs time, but no attempt; so does an outage.

        Raises:
            TooLarge: if a smaller request may be served.
            ContentRefused: if the request holds something that the service refuses.
            Rejected: if the service refuses it for another reason.
            Transient: if it failed at every attempt, while others were served.
            BadAnswer: if no attempt brought one finite score for each document.
            ServiceEnded: if the service will give no more answers; nobody else gets one then.
            RerankError: the one given to `stop`.
        """
        return self._attempts.score(request)

    async def _ask(self, request: Request) -> Scores:
        """One HTTP request and its answer, or the error that it amounts to."""
        body = self._wire.encode(request, self._settings.profile.name, self._settings.instruct)
        started = self._clock()
        self._counters.requests += 1
        try:
            with self._time_limit.begin():
                async with self._session.post(
                    self._url, data=_payload(body), allow_redirects=False
                ) as response:
                    status, is_answer = response.status, response.status // 100 == 2
                    content = await (response.read() if is_answer else _beginning(response))
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            raise _translated(error) from _cause(error)
        latency_s = self._clock() - started
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "request.answered query_id=%s documents=%d status=%d latency_ms=%.0f",
                *(request.query_id, request.num_documents, status, 1_000 * latency_s),
            )
        clean = partial(redact, request=request, api_key=self._api_key)
        if not is_answer:
            raise classify(status, content, response.headers, clean=clean)
        scores = self._wire.decode(content, request.num_documents, clean=clean)
        self._counters.latency.add(latency_s)
        return scores


def _usable(url: str) -> URL:
    try:
        return URL(url)
    except ValueError as error:
        raise SettingsError(f"not a usable address: {error}", which="--url", found=url) from None


def _payload(body: bytes) -> bytes | io.BytesIO:
    """What aiohttp sends in pieces if it is so large that writing it would hold the event loop."""
    return body if len(body) <= _LARGE_BODY else io.BytesIO(body)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The first `MAX_ERROR_BYTES` of a body; the connection is given up if there are more."""
    content = bytearray()
    while len(content) < MAX_ERROR_BYTES:
        piece = await response.content.read(MAX_ERROR_BYTES - len(content))
        if not piece:
            return bytes(content)
        content += piece
    response.close()
    return bytes(content)


def _translated(error: Exception) -> RerankError:
    """What aiohttp raised as one of our errors; the most specific first."""
    name = type(error).__name__
    if isinstance(error, _ADDRESS_ERRORS):
        return ServiceRefused("not a usable address", which="--url", found=name)
    if isinstance(error, _UNTRUSTED_ERRORS):
        return ServiceRefused(
            "the service's certificate is not trusted", which="--url", cure="check the address"
        )
    if isinstance(error, _CONNECT_ERRORS):
        return Transient(UNREACHABLE, name)
    if isinstance(error, TimeoutError):
        return Transient(TIMEOUT, name)
    return Transient(CONNECTION_LOST, name)


def _cause(error: Exception) -> Exception | None:
    """The error itself, but for one that holds the request's headers, and so the key."""
    return None if isinstance(error, aiohttp.ClientResponseError) else error


_ADDRESS_ERRORS = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, aiohttp.RedirectClientError)
_UNTRUSTED_ERRORS = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ServerFingerprintMismatch,
)
_CONNECT_ERRORS = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
