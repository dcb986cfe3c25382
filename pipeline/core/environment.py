"""The process environment, as far as the library reads it: keys, proxies, and object stores.

No other module of the library reads `os.environ`. The SDKs of object stores read their usual
variables by themselves.
"""

import ipaddress
import os
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.core.errors import SettingsError
from pipeline.core.provider import Provider

_OFFLINE_KEY = "offline"
"""The emulator accepts any key that is not empty."""


def read_api_key(provider: Provider, variable: str | None = None) -> str | None:
    """Return the key for a provider; None if the provider takes none.

    Args:
        provider: Names the variable that holds the key, unless `variable` is given.
        variable: Another variable to read.

    Raises:
        SettingsError: if a key is needed and the variable is unset or blank, or holds characters
            that cannot be sent.
    """
    is_needed = provider.requires_key or variable is not None
    variable = variable or provider.api_key_env
    if variable is None:
        return _OFFLINE_KEY if provider.name == "emulator" else None
    key = os.environ.get(variable, "").strip()
    if not key and not is_needed:
        return None
    if not key:
        raise SettingsError(
            "no API key",
            which=variable,
            cure=f"export {variable}=... or name another variable with --api-key-env",
        )
    if not (key.isascii() and key.isprintable()):
        raise SettingsError(
            "the key holds characters that cannot be sent",
            which=variable,
            expected="printable ASCII",
            cure="copy the key again, without line breaks",
        )
    return key


def read_token(option: str, variable: str | None) -> str | None:
    """Return the token of a quota server; None if no variable is named.

    Args:
        option: The option that names the variable.
        variable: What it names.

    Raises:
        SettingsError: if the variable is unset or blank, or holds characters that cannot be sent.
    """
    if variable is None:
        return None
    token = os.environ.get(variable, "").strip()
    if not (token and token.isascii() and token.isprintable()):
        raise SettingsError(
            "no token" if not token else "the token holds characters that cannot be sent",
            which=f"{option} {variable}",
            expected="printable ASCII",
            cure=f"export {variable}=...",
        )
    return token


def read_proxy(url: str) -> str | None:
    """Return the address of the HTTP proxy by which a URL is reached; None if directly.

    It is that of HTTP_PROXY or HTTPS_PROXY (or their lower case), unless NO_PROXY names the host.
    This machine's own addresses are always reached directly.

    Raises:
        SettingsError: if the variable does not hold the address of an HTTP proxy.
    """
    from urllib.request import getproxies_environment, proxy_bypass

    parts = urlsplit(url)
    proxy = getproxies_environment().get(parts.scheme, "")
    if not proxy or _is_own(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        found = urlsplit(proxy)
        is_usable = found.scheme == "http" and bool(found.hostname) and found.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise SettingsError(  # without the address, which may hold a password
            "not the address of an HTTP proxy",
            which=proxy_variable(url),
            expected="http://HOST:PORT",
            cure="correct the variable, or name the service's host in NO_PROXY",
        )
    return proxy


def proxy_variable(url: str) -> str:
    """Return the name of the variable that holds the proxy for a URL."""
    return f"{urlsplit(url).scheme.upper()}_PROXY"


def _is_own(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def cache_folder() -> Path:
    """Return where this program keeps what it can make again: `XDG_CACHE_HOME` or `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "rerank-pipeline")


def read_store_setting(variable: str) -> str | None:
    """Return a setting of an object store whose SDK does not read the variable; None if unset."""
    return os.environ.get(variable)


def read_credential(variable: str) -> str | None:
    """Return a user, password or key of a system that results are loaded into; None if unset."""
    return os.environ.get(variable) or None
