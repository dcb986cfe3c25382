"""The check of an address: name, connection and certificate; no request is sent."""

import asyncio
import socket
import ssl
import time
from typing import Final
from urllib.parse import urlsplit

from jobs.doctor.findings import Finding
from pipeline.core.environment import proxy_variable, read_proxy
from pipeline.core.errors import OutageTooLong, SettingsError, shorten
from pipeline.service.transport import Timeouts

CONNECT_TIMEOUT_S: Final = Timeouts().connect_s

_WHY_UNREACHABLE: Final = {
    socket.gaierror: "the host name cannot be resolved",
    ConnectionRefusedError: "connection refused",
    ConnectionResetError: "connection reset",
}


async def check_address(url: str) -> Finding:
    """Connect to the host of a URL, or to its proxy, and return what was found; sends nothing."""
    try:
        proxy = read_proxy(url)
    except SettingsError as error:
        return Finding("address", "fail", str(error), "", error)
    parts = urlsplit(proxy or url)
    host, is_secure = parts.hostname or "", parts.scheme == "https"
    try:
        endpoint = f"{host}:{parts.port or (443 if is_secure else 80)}"
        if proxy is not None:
            endpoint = f"the proxy {endpoint} ({proxy_variable(url)})"
        connecting = asyncio.open_connection(
            host,
            parts.port or (443 if is_secure else 80),
            ssl=ssl.create_default_context() if is_secure else None,
        )
        started = time.perf_counter()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await connecting
        connect_ms = 1_000 * (time.perf_counter() - started)
        writer.close()
    except ValueError as error:
        return _unreachable(f"not a usable address: {error}", "check --url")
    except ssl.SSLCertVerificationError as error:
        return _unreachable(
            f"the certificate of {endpoint} is not trusted: {error.verify_message}",
            "check --url, and this machine's certificates and clock",
        )
    except ssl.SSLError as error:
        return _unreachable(f"no TLS with {endpoint}: {error.reason}", "check --url")
    except TimeoutError:
        return _unreachable(
            f"{endpoint} does not answer within {CONNECT_TIMEOUT_S:.0f} s",
            "check the firewall, and HTTP_PROXY and HTTPS_PROXY if connections need a proxy",
        )
    except OSError as error:
        why = _WHY_UNREACHABLE.get(type(error)) or shorten(str(error), 100)
        return _unreachable(f"{endpoint}: {why}", "check --url and the network of this machine")
    if proxy is not None:
        return Finding("address", "ok", f"{endpoint} in {connect_ms:.0f} ms")
    secured = ", certificate trusted" if is_secure else ", without TLS"
    return Finding("address", "ok", f"{endpoint} in {connect_ms:.0f} ms{secured}")


def _unreachable(what: str, cure: str) -> Finding:
    error = OutageTooLong("the service cannot be reached", which=what, cure=cure)
    return Finding("address", "fail", what, cure, error)
