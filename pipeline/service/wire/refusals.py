"""What a refusal means for the request and for the job: decided by status and code.

The table follows Model Studio's page `error-messages` (2026-11). The text decides in three places
only, each under its code: whether a quota that is used up is the free one (for good) or the one per
minute (for a moment), whether the whole system is short of capacity, and whether an invalid
parameter is invalid for its size.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias

import orjson
from msgspec import Struct

from pipeline.core.errors import (
    BadAnswer,
    ContentRefused,
    Rejected,
    RequestError,
    ServiceRefused,
    Throttled,
    TooLarge,
    Transient,
    shorten,
)

Clean: TypeAlias = Callable[[str], str]
"""Makes a foreign message fit to be shown: short, and without what must stay private."""

MAX_FOREIGN_MESSAGE = 200

_THROTTLES = {
    "throttling": "requests",
    "throttling.ratequota": "requests",
    "limitrequests": "requests",
    "limit_requests": "requests",
    "throttling.burstrate": "growth",
    "limit_burst_rate": "growth",
    "throttling.allocationquota": "tokens",
    "insufficient_quota": "tokens",
}
_REFUSED_FOR_GOOD = {
    "commoditynotpurchased",
    "prepaidbilloverdue",
    "postpaidbilloverdue",
    "arrearage",
    "invalidapikey",
    "invalid_api_key",
    "not authorized",
    "accessdenied",
    "access_denied",
    "accessdenied.unpurchased",
    "model.accessdenied",
    "workspace.accessdenied",
    "allocationquota.freetieronly",
    "modelnotfound",
    "model_not_found",
    "model_not_supported",
    "workspacenotfound",
}
_CONTENT = {"datainspectionfailed", "data_inspection_failed"}
_INVALID = {
    "invalidparameter",
    "internalerror.algo.invalidparameter",
    "invalid_parameter_error",
    "invalid_request_error",
    "validation",
}
_TRANSIENT = {
    "apiconnectionerror",
    "clientdisconnect",
    "internalerror",
    "internal_error",
    "internalerror.algo",
    "systemerror",
    "modelservicefailed",
    "requesttimeout",
    "modelservingerror",
    "modelunavailable",
    "serviceunavailable",
}
_ONE_DOCUMENT = "document index"
_SIZE_WORDS = (
    "batch size",
    "input length",
    "number of tokens",
    "token limit",
    "too many tokens",
    "maximum context",
    "too long",
    "too large",
)
_SHAPE_WORDS = ("required body invalid", "url error")
_FREE_QUOTA = "free allocated quota exceeded"
_NO_CAPACITY = "system capacity limits"

_CODE = re.compile(rb'"code"\s*:\s*"([^"\\]{1,80})"')
_MESSAGE = re.compile(rb'"message"\s*:\s*"((?:[^"\\]|\\.){1,400})')

_KEY_CURE = "check the key, its region and its workspace"
_CURES = {
    401: _KEY_CURE,
    402: "check the account's balance",
    403: "check what the key and its workspace may use",
    404: "check --model and --url",
    405: "check --url",
}


class _Refusal(Struct, frozen=True):
    """An error body's facts; empty strings where it has none."""

    code: str = ""
    message: str = ""


def is_error(answer: Any) -> bool:
    """Whether a JSON body is an error envelope, whatever its status."""
    if not isinstance(answer, dict) or answer.get("output") or answer.get("results"):
        return False
    return bool(answer.get("error") or answer.get("code"))


def classify(
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    clean: Clean = shorten,
) -> RequestError | ServiceRefused:
    """The error that an answer without scores amounts to; nothing is raised.

    Args:
        status: The HTTP status; 200 is possible.
        body: The body or its beginning: JSON of either envelope, HTML, or nothing.
        headers: For `Retry-After`.
        clean: Makes the service's message fit to be shown.
    """
    refusal = _read(body)
    code = refusal.code or f"http_{status}"
    message = clean(refusal.message[:MAX_FOREIGN_MESSAGE])
    known, text = refusal.code.lower(), refusal.message.lower()

    if known in _REFUSED_FOR_GOOD or (known in _THROTTLES and _FREE_QUOTA in text):
        return _refused(code, message, status)
    if known in _CONTENT:
        return ContentRefused(code, message, status=status)
    if status == 429 or (known in _THROTTLES and status != 400):
        limit = "capacity" if _NO_CAPACITY in text else _THROTTLES.get(known, "requests")
        wait = _retry_after_s(headers or {})
        return Throttled(code, message, status=status, limit=limit, retry_after_s=wait)
    if status in _CURES or 300 <= status < 400:
        return _refused(code, message, status)
    if known in _INVALID or status in (400, 413, 422):
        return _invalid(status, known, text)(code, message, status=status)
    if known in _TRANSIENT or status >= 500 or status in (408, 425):
        return Transient(code, message, status=status)
    if status == 200:
        return BadAnswer(code, message, status=status)
    return Rejected(code, message, status=status)


def _invalid(status: int, code: str, text: str) -> type[RequestError]:
    """A request that cannot be served as it is: for its size, one document, or its shape."""
    if code in _TRANSIENT:
        return Transient
    if _ONE_DOCUMENT in text:
        return ContentRefused
    if status == 413 or any(words in text for words in _SIZE_WORDS):
        return TooLarge
    if code in _THROTTLES or any(words in text for words in _SHAPE_WORDS):
        return Rejected
    # A document's own fault cannot be told from the request's; bisection finds out.
    return ContentRefused if code and status != 422 else Rejected


def _refused(code: str, message: str, status: int) -> ServiceRefused:
    what = f"the service refuses every request (HTTP {status})"
    return ServiceRefused(
        f"{what}: {message}" if message else what,
        which=code,
        cure=_CURES.get(status, "check the account, --model and --url"),
    )


def _read(body: bytes) -> _Refusal:
    """The facts of an error body, or of the JSON that its message holds."""
    outer = _envelope(body)
    if not outer.message.lstrip().startswith("{"):
        return outer
    inner = _envelope(outer.message.encode())
    return _Refusal(outer.code or inner.code, inner.message or inner.code)


def _envelope(body: bytes) -> _Refusal:
    """`{code, message}` or `{error: {code, type, message}}`; `error` may be the message itself."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _beginning(body)
    if not isinstance(answer, dict):
        return _Refusal()
    error = answer.get("error")
    facts = error if isinstance(error, dict) else answer
    names = [facts.get("code"), facts.get("type"), facts.get("error_type")]
    code = next((name for name in names if isinstance(name, str) and name), "")
    said = [facts.get("message"), error, answer.get("detail")]
    message = next((text for text in said if isinstance(text, str)), "")
    return _Refusal(shorten(code, 80), message)


def _beginning(body: bytes) -> _Refusal:
    """What can be found in JSON whose end was not read; nothing in HTML."""
    if not body.lstrip().startswith(b"{"):
        return _Refusal()
    code, message = (found.search(body) for found in (_CODE, _MESSAGE))
    return _Refusal(
        code[1].decode(errors="replace") if code else "",
        message[1].decode(errors="replace") if message else "",
    )


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of a `Retry-After` header, which may also be a date; None without a usable one."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    if value.replace(".", "", 1).isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return None
