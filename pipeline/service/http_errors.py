"""Translate errors of aiohttp into errors of this project."""

import os

import aiohttp

from pipeline.core.errors import RerankError, ServiceRefused, Transient
from pipeline.service.failures import (
    CONNECTION_LOST,
    TIMEOUT,
    UNREACHABLE,
    UNREADABLE,
    UNTRUSTED,
)


def translate_error(error: Exception, where: str = "") -> RerankError:
    """Return our error for one that aiohttp raised; the most specific classes come first.

    Args:
        error: What aiohttp raised.
        where: Host and port of the service, and of the proxy.
    """
    name = type(error).__name__
    if isinstance(error, _ADDRESS_ERRORS):
        return ServiceRefused("not a usable address", which="--url", found=name)
    if isinstance(error, _UNTRUSTED_ERRORS):
        return Transient(UNTRUSTED, f"{where}: the certificate is not trusted")
    if isinstance(error, _CONNECT_ERRORS):
        return Transient(UNREACHABLE, f"{where}: {_why_unreachable(error)}")
    if isinstance(error, _UNREADABLE_ERRORS):
        return Transient(UNREADABLE, name)
    if isinstance(error, TimeoutError):
        return Transient(TIMEOUT, name)
    return Transient(CONNECTION_LOST, name)


def _why_unreachable(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name is not found"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "the proxy is not reached"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answers HTTP {error.status}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "no TLS connection"
    if isinstance(error, TimeoutError):
        return "timeout of the connection"
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number else type(error).__name__


def safe_cause(error: Exception) -> Exception | None:
    """Return the error, or None for one that holds the request's headers, and so the key."""
    return None if isinstance(error, aiohttp.ClientResponseError) else error


_ADDRESS_ERRORS = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, aiohttp.RedirectClientError)
_UNTRUSTED_ERRORS = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ServerFingerprintMismatch,
)
_CONNECT_ERRORS = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
)
_UNREADABLE_ERRORS = (aiohttp.ClientPayloadError, aiohttp.ClientResponseError)
