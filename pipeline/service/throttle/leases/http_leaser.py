"""A leaser that is asked over HTTP: `rerank quota serve`."""

from types import TracebackType
from typing import Final, Self

import aiohttp
import msgspec

from pipeline.core.environment import read_proxy
from pipeline.core.errors import SettingsError, shorten
from pipeline.service.throttle.leases.address import lease_path
from pipeline.service.throttle.leases.leaser import LeaserLost
from pipeline.service.throttle.leases.messages import Ask, Grant

_OK: Final = 200
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404


class HttpLeaser:
    """Leases of one quota of a server.

    Args:
        url: The server's address: scheme, host and port.
        bucket: The name of the quota.
        token: What the server asks for; None for nothing. Never shown.
    """

    def __init__(self, url: str, bucket: str, token: str | None) -> None:
        self.name = url
        self._address = url + lease_path(bucket)
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Grant)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=read_proxy(self.name),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def ask(self, ask: Ask) -> Grant:
        """Return the server's answer, as `Leaser` promises."""
        try:
            async with self._session.post(
                self._address, data=self._encoder.encode(ask), allow_redirects=False
            ) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise LeaserLost(shorten(str(error))) from error
        if answer.status == _UNAUTHORIZED:
            raise SettingsError(
                "the quota server refuses the token",
                which=f"--quota {self.name}",
                cure="--quota-token-env names the variable that holds the server's token",
            )
        if answer.status == _NOT_FOUND:
            raise SettingsError(
                "not a quota server",
                which=f"--quota {self.name}",
                found="404",
                cure="give the address that rerank quota serve printed",
            )
        if answer.status != _OK:
            raise LeaserLost(f"status {answer.status}")
        try:
            return self._decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise LeaserLost("an answer that is not a grant") from error
