"""The address `--quota URL`: a leaser, and one of its quotas.

    http://HOST:PORT[/NAME]    rerank quota serve
    redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE][?name=NAME]    Redis; rediss:// with TLS

Without a name, processes with the same provider, model and key share a quota; the leaser sees only
a short digest of the key.
"""

import hashlib
from typing import Final
from urllib.parse import parse_qs, quote, unquote, urlsplit

from msgspec import Struct

from pipeline.core.errors import SettingsError
from pipeline.service.throttle.leases.leaser import Leaser

_HTTP: Final = ("http", "https")
_REDIS: Final = ("redis", "rediss")
_EXPECTED: Final = "http://HOST:PORT[/NAME] or redis://HOST[:PORT][/DATABASE][?name=NAME]"
_DIGEST_BYTES: Final = 4
"""Of the key's digest: 1 in 4 billion others has the same, which would only slow both."""


class QuotaAddress(Struct, frozen=True):
    """A leaser's address.

    Attributes:
        url: As it is used, with user and password.
        name: Of the quota; empty for that of the service.
    """

    url: str
    name: str

    @property
    def is_redis(self) -> bool:
        """Whether the leaser is a Redis server."""
        return urlsplit(self.url).scheme in _REDIS

    @property
    def shown(self) -> str:
        """The address without user and password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def leaser(self, bucket: str, token: str | None) -> Leaser:
        """Return the leaser of a quota.

        Raises:
            SettingsError: if an extra is missing.
        """
        if not self.is_redis:
            from pipeline.service.throttle.leases.http_leaser import HttpLeaser

            return HttpLeaser(self.url, bucket, token)
        try:
            from pipeline.service.throttle.leases.redis_leaser import RedisLeaser
        except ImportError as error:
            raise SettingsError(
                "needs the extra redis",
                which="--quota",
                cure="pip install 'rerank-pipeline[redis]'",
            ) from error
        return RedisLeaser(self.url, self.shown, bucket, token)


def parse_address(url: str) -> QuotaAddress:
    """Parse the address of a quota.

    Raises:
        SettingsError: if it is not the address of a leaser; the message shows no password.
    """
    try:
        parts = urlsplit(url)
        is_usable = bool(parts.hostname) and parts.port != 0
        is_usable = is_usable and parts.scheme in (*_HTTP, *_REDIS)
        has_user = parts.username is not None
    except ValueError:
        is_usable = has_user = False
    if not is_usable:
        found = None if "@" in url else url
        raise SettingsError(
            "not the address of a quota", which="--quota", found=found, expected=_EXPECTED
        )
    if parts.scheme in _REDIS:
        name = parse_qs(parts.query).get("name", [""])[-1]
        return QuotaAddress(parts._replace(query="", fragment="").geturl(), name)
    if has_user:
        raise SettingsError(
            "holds a user or a password", which="--quota", cure="use --quota-token-env instead"
        )
    return QuotaAddress(f"{parts.scheme}://{parts.netloc}", unquote(parts.path.strip("/")))


def quota_of(provider: str, model: str, api_key: str | None) -> str:
    """Return the name of the quota of a provider, a model and a key."""
    return f"{provider}/{model}/{_digest(api_key)}"


def _digest(api_key: str | None) -> str:
    if api_key is None:
        return "no-key"
    hashed = hashlib.blake2b(api_key.encode(), digest_size=_DIGEST_BYTES, person=b"rerank-quota")
    return hashed.hexdigest()


def lease_path(bucket: str) -> str:
    """Return the path at which a server of ours leases a quota."""
    return "/lease/" + quote(bucket, safe="/")
