"""Failures without an HTTP answer, by their codes, and what a failure says about the service."""

from typing import Final

from pipeline.core.errors import BadAnswer, RequestError, Transient

UNREACHABLE: Final = "unreachable"
"""No connection could be opened."""

CONNECTION_LOST: Final = "connection_lost"
"""The connection broke before the answer was complete."""

TIMEOUT: Final = "timeout"
"""The answer was not complete in time."""

_SERVICE_DOWN: Final = frozenset({502, 503, 504})


def is_service_down(error: RequestError) -> bool:
    """Return whether a failure speaks of the service; a 500 or a time-out may be the request's."""
    is_down = error.status in _SERVICE_DOWN or error.code == UNREACHABLE
    return isinstance(error, Transient) and is_down


def may_be_billed(error: RequestError) -> bool:
    """Return whether the service may have done the work of a request that failed so."""
    return isinstance(error, BadAnswer) or error.code in (CONNECTION_LOST, TIMEOUT)
