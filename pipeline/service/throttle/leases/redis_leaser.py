"""A leaser in Redis: the ledger is a script in the server, which runs by the server's clock."""

from importlib.resources import files
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from pipeline.core.errors import SettingsError, shorten
from pipeline.service.throttle.leases.leaser import LeaserLost
from pipeline.service.throttle.leases.messages import Ask, Grant, LeaseTimes

_PREFIX: Final = "rerank:quota:"
_KEPT_S: Final = 86_400
"""A quota that no taker asks for is forgotten after a day."""

SERVER_CLOCK: Final = """
local time = redis.call('TIME')
local clock = tonumber(time[1]) + tonumber(time[2]) / 1e6
"""


def ledger_script() -> str:
    """Return the ledger in Lua; it reads `clock`, which is seconds by any clock."""
    return files("pipeline.service.throttle.leases").joinpath("ledger.lua").read_text()


class RedisLeaser:
    """Leases of one quota that Redis keeps; several processes need no other server.

    Args:
        url: The server's address, as redis-py understands it.
        shown: The same without a password.
        bucket: The name of the quota.
        password: The server's password, where the address holds none. Never shown.
        times: When what happens.
    """

    def __init__(
        self,
        url: str,
        shown: str,
        bucket: str,
        password: str | None = None,
        *,
        times: LeaseTimes | None = None,
    ) -> None:
        self.name = shown
        self._key = _PREFIX + bucket
        self._times = msgspec.json.encode(times or LeaseTimes())
        given: dict[str, Any] = {} if password is None else {"password": password}
        self._redis: Redis = Redis.from_url(url, **given)
        self._script = self._redis.register_script(SERVER_CLOCK + ledger_script())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._redis.aclose()

    async def ask(self, ask: Ask) -> Grant:
        """Return what the script grants, as `Leaser` promises."""
        arguments: list[Any] = [script_facts(ask), self._times, _KEPT_S]
        try:
            granted = await self._script(keys=[self._key], args=arguments)
            return msgspec.json.decode(granted, type=Grant)
        except (AuthenticationError, NoPermissionError) as error:
            raise SettingsError(
                "Redis refuses the user or the password",
                which=f"--quota {self.name}",
                cure="correct the address, or the variable that --quota-token-env names",
            ) from error
        except (RedisError, OSError) as error:
            raise LeaserLost(shorten(str(error))) from error
        except msgspec.MsgspecError as error:
            raise LeaserLost("an answer that is not a grant") from error


def script_facts(ask: Ask) -> bytes:
    """Return a taker's message for the script, without nulls: Lua reads a missing field as nil."""
    facts = msgspec.to_builtins(ask)
    return msgspec.json.encode({name: value for name, value in facts.items() if value is not None})
