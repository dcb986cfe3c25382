"""Codes of failures without a usable HTTP answer, and conclusions from a failure.

A failure is one of two kinds. Server errors, time-outs and broken connections are signs of a
service that is down for a while. Answers without scores and refusals are signs of a wrong address,
provider or account, if no request at all is served.
"""

from typing import Final

from pipeline.core.errors import (
    BadAnswer,
    ContentRefused,
    Rejected,
    RequestError,
    TooLarge,
    Transient,
)

UNREACHABLE: Final = "unreachable"
"""No connection could be opened."""

UNTRUSTED: Final = "untrusted_certificate"
"""No connection was opened, because the service's certificate is not trusted."""

CONNECTION_LOST: Final = "connection_lost"
"""The connection broke before an answer began."""

UNREADABLE: Final = "unreadable_answer"
"""An answer that is not valid HTTP: truncated, wrongly compressed, or not HTTP at all."""

TIMEOUT: Final = "timeout"
"""The answer was not complete in time."""

_MAYBE_BILLED: Final = frozenset({CONNECTION_LOST, UNREADABLE, TIMEOUT})
_REFUSING_STATUSES: Final = frozenset({401, 402, 403, 404, 405, 410})


def is_outage(error: RequestError) -> bool:
    """Return whether a service that fails like this for all requests is down, not a wrong one."""
    return isinstance(error, Transient) and error.code != UNTRUSTED


def is_reached(error: RequestError) -> bool:
    """Return whether a connection was opened."""
    return error.code not in (UNREACHABLE, UNTRUSTED)


def refuses_all(error: RequestError) -> bool:
    """Return whether the failure says by itself that no request at all will be served."""
    return error.code == UNTRUSTED or _is_about_service(error.status)


def is_verdict(error: RequestError) -> bool:
    """Return whether another attempt would fail in the same way, while others are served."""
    if isinstance(error, Rejected):
        return not _is_about_service(error.status)
    return isinstance(error, TooLarge | ContentRefused)


def _is_about_service(status: int | None) -> bool:
    """Return whether a status is not about the request: wrong address, account or method."""
    is_redirect = status is not None and (status < 200 or 300 <= status < 400)
    return is_redirect or status in _REFUSING_STATUSES


def may_be_billed(error: RequestError) -> bool:
    """Return whether the service may have billed a request that failed like this."""
    return isinstance(error, BadAnswer) or error.code in _MAYBE_BILLED


def describe(error: RequestError) -> str:
    """Return the failure in words: status, code and message."""
    status = f"HTTP {error.status}, " if error.status else ""
    return f"{status}{error.code}" + (f": {error.message}" if error.message else "")
