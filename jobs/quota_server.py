"""The server that leases quotas to several processes; see `pipeline.service.throttle.leases`."""

import asyncio
import hmac
import ipaddress
import logging
import platform
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web
from msgspec import Struct

from pipeline.core.errors import SettingsError
from pipeline.core.events import log_event
from pipeline.service.throttle.leases.ledger import Ledger
from pipeline.service.throttle.leases.messages import Ask

log = logging.getLogger(__name__)

_MOST_QUOTAS = 1_000
"""Most quotas: a client that names a new one each time must not fill the memory."""
_SHUTDOWN_TIMEOUT_S = 1.0


class QuotaServerConfig(Struct, frozen=True, kw_only=True):
    """What the server leases, and to whom.

    Attributes:
        host: Address to listen on.
        port: Port; 0 picks a free one.
        requests_per_minute: Of each quota; None for the lowest that a taker's settings say.
        tokens_per_minute: The same for tokens.
        token: What takers must show; None only on loopback.

    Raises:
        SettingsError: if others can reach the server and it has no token.
    """

    host: str = "127.0.0.1"
    port: int = 0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        """Refuse a server that others can reach without a token."""
        if self.token is None and not _is_loopback(self.host):
            raise SettingsError(
                "anyone who reaches it could use up the quota",
                which=f"--host {self.host}",
                cure="name the variable that holds a token with --token-env",
            )


class QuotaServer:
    """Answers takers; a ledger for each quota that they name.

    Args:
        config: What it leases.
        clock: Seconds, never going back.
    """

    def __init__(
        self, config: QuotaServerConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._clock = clock
        self._ledgers: dict[str, Ledger] = {}
        self._asks = msgspec.json.Decoder(Ask)
        self._grants = msgspec.json.Encoder()

    def app(self) -> web.Application:
        """Return the application; it is asked at `/lease/NAME`."""
        app = web.Application()
        app.router.add_post("/lease/{name:.+}", self._lease)
        return app

    async def _lease(self, request: web.Request) -> web.Response:
        token = self._config.token
        if token is not None:
            shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(shown.encode(), token.encode()):
                return web.Response(status=401, text="wrong or missing token")
        try:
            ask = self._asks.decode(await request.read())
        except msgspec.MsgspecError as error:
            return web.Response(status=400, text=str(error))
        ledger = self._ledger(request.match_info["name"])
        if ledger is None:
            return web.Response(status=429, text="too many quotas")
        grant = ledger.ask(self._clock(), ask)
        return web.Response(body=self._grants.encode(grant), content_type="application/json")

    def _ledger(self, name: str) -> Ledger | None:
        ledger = self._ledgers.get(name)
        if ledger is not None:
            return ledger
        if len(self._ledgers) >= _MOST_QUOTAS:
            unused = [name for name, ledger in self._ledgers.items() if not ledger.num_takers]
            for other in unused:
                del self._ledgers[other]
            if not unused:
                return None
        config = self._config
        ledger = self._ledgers[name] = Ledger(
            _per_second(config.requests_per_minute), _per_second(config.tokens_per_minute)
        )
        log_event(log, logging.INFO, "quota.opened", quota=name)
        return ledger


@asynccontextmanager
async def running_quota_server(config: QuotaServerConfig) -> AsyncIterator[str]:
    """Run the server in the current event loop; yield its address.

    Raises:
        SettingsError: if it cannot listen at its address.
    """
    runner = web.AppRunner(
        QuotaServer(config).app(), access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT_S
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, config.host, config.port).start()
        except OSError as error:
            raise SettingsError(
                "cannot listen",
                which=f"{config.host}:{config.port}",
                found=error.strerror,
                cure="choose another --port, or 0 for any that is free",
            ) from error
        yield f"http://{_reachable(config.host)}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def serve(
    config: QuotaServerConfig, announce: Callable[[str], None], end: asyncio.Event
) -> None:
    """Serve until `end` is set.

    Args:
        config: Of the server.
        announce: Called with its address once it is up.
        end: Ends the server.
    """
    async with running_quota_server(config) as address:
        announce(address)
        await end.wait()


def _per_second(per_minute: float | None) -> float | None:
    return None if per_minute is None else per_minute / 60


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reachable(host: str) -> str:
    """Return the host by which others reach the server."""
    if host in ("0.0.0.0", "::", ""):
        return platform.node()
    return f"[{host}]" if ":" in host else host
