"""Classify refusals: what one means for the request and the job, by status and code.

The codes are the vendor's (`RefusalCodes`); the rules by status and their order hold for every
vendor. The text decides in a few places only, each under its code: whether a quota that is used up
is the free one (for good) or the one per minute (for a moment), whether the whole system is short
of capacity, and whether an invalid request is invalid for its size.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal, TypeAlias

from msgspec import Struct, field

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
from pipeline.service.wire.error_body import read_error

Clean: TypeAlias = Callable[[str], str]
"""Makes a service's message fit to be shown: short, and without what must stay private."""

MAX_SERVICE_MESSAGE: Final = 200

_INVALID: Final = frozenset({"invalid_request_error", "validation"})
"""Codes of several servers for requests that cannot be served as they are."""

_SIZE_TEXTS: Final = (
    "batch size",
    "number of tokens",
    "token limit",
    "too many tokens",
    "maximum context",
    "too long",
    "too large",
    "should have at most",
)

_CODE_LIKE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
CURES: Final = {
    401: "check the key, its region and its workspace",
    402: "check the account's balance",
    403: "check what the key and its workspace may use",
    404: "check --model and --url",
    405: "check --url",
}
"""The cure for a service that refuses every request with such a status."""

_ACCOUNT_STATUSES: Final = (401, 402)


class RefusalCodes(Struct, frozen=True, kw_only=True):
    """A vendor's error codes, and phrases of its messages; all in lower case.

    Attributes:
        throttled: Codes that ask for a slower pace, each with the limit that it protects.
        refused: Codes that refuse every request for good: key, balance, permission, model.
        content: Codes that refuse something in the request.
        invalid: Codes of a request that cannot be served as it is.
        transient: Codes of failures that may pass.
        content_text: In a message of any status: something in the request is refused.
        free_quota_text: In a refusal for pace: the free quota is used up, for good.
        capacity_text: In a refusal for pace: the service itself is short of capacity.
        one_document_text: In an invalid request: one document is to blame.
        size_texts: In an invalid request: its size is to blame; beside phrases of many servers.
        shape_texts: In an invalid request: the body's shape is to blame, whatever the documents.
    """

    throttled: Mapping[str, Literal["requests", "tokens", "growth", "capacity"]] = field(
        default_factory=dict
    )
    refused: frozenset[str] = frozenset()
    content: frozenset[str] = frozenset()
    invalid: frozenset[str] = frozenset()
    transient: frozenset[str] = frozenset()
    content_text: str | None = None
    free_quota_text: str | None = None
    capacity_text: str | None = None
    one_document_text: str | None = None
    size_texts: tuple[str, ...] = ()
    shape_texts: tuple[str, ...] = ()

    @property
    def all_codes(self) -> frozenset[str]:
        """Every code of the vendor."""
        return self.refused.union(self.throttled, self.content, self.invalid, self.transient)


def classify(
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    codes: RefusalCodes,
    clean: Clean = shorten,
) -> RequestError | ServiceRefused:
    """Return the error for an answer without scores; raise nothing.

    Args:
        status: The HTTP status; 200 is possible.
        body: The body or its beginning: JSON of either envelope, HTML, or nothing.
        headers: For `Retry-After`.
        codes: The service's error codes.
        clean: Makes the service's message fit to be shown.
    """
    refusal = read_error(body)
    code = _shown_code(refusal.code, codes, clean) or f"http_{status}"
    message = shorten(clean(refusal.message), MAX_SERVICE_MESSAGE)
    known, text = refusal.code.lower(), refusal.message.lower()

    is_about_quota = known in codes.throttled or (status == 429 and not known)
    is_free_quota = is_about_quota and _mentions(text, codes.free_quota_text)
    if known in codes.refused or is_free_quota:
        return _refused(code, message, status)
    if known in codes.content or _mentions(text, codes.content_text):
        return ContentRefused(code, message, status=status)
    if status == 429 or (known in codes.throttled and status != 400):
        has_capacity = not _mentions(text, codes.capacity_text)
        limit = codes.throttled.get(known, "requests") if has_capacity else "capacity"
        wait = _retry_after_s(headers or {})
        return Throttled(code, message, status=status, limit=limit, retry_after_s=wait)
    if status in _ACCOUNT_STATUSES and (refusal.code or refusal.message):
        return _refused(code, message, status)
    if status == 403:  # a firewall may refuse a single document like this
        return ContentRefused(code, message, status=status)
    if status in CURES or 300 <= status < 400:
        return Rejected(code, message, status=status)
    if known in codes.invalid or known in _INVALID or status in (400, 413, 422):
        return _invalid(status, known, text, codes)(code, message, status=status)
    if known in codes.transient or status >= 500 or status in (408, 425):
        wait = _retry_after_s(headers or {})
        return Transient(code, message, status=status, retry_after_s=wait)
    if status == 200:
        return BadAnswer(code, message, status=status)
    return Rejected(code, message, status=status)


def _invalid(status: int, code: str, text: str, codes: RefusalCodes) -> type[RequestError]:
    """Return the class of a request that cannot be served as it is."""
    if code in codes.transient:
        return Transient
    if _mentions(text, codes.one_document_text):
        return ContentRefused
    if status == 413 or _mentions(text, *_SIZE_TEXTS, *codes.size_texts):
        return TooLarge
    if code in codes.throttled or _mentions(text, *codes.shape_texts):
        return Rejected
    # A document's own fault looks like the request's; bisection tells them apart.
    return ContentRefused if code and status != 422 else Rejected


def _shown_code(code: str, codes: RefusalCodes, clean: Clean) -> str:
    """Return the code if it is one of the vendor's, or looks like a code and holds no secret."""
    is_known = code.lower() in codes.all_codes
    is_shown = is_known or (_CODE_LIKE.fullmatch(code) and clean(code) == code)
    return code if is_shown else ""


def _mentions(text: str, *phrases: str | None) -> bool:
    return any(phrase is not None and phrase in text for phrase in phrases)


def _refused(code: str, message: str, status: int) -> ServiceRefused:
    what = f"the service refuses every request (HTTP {status})"
    return ServiceRefused(
        f"{what}: {message}" if message else what,
        which=code,
        cure=CURES.get(status, "check the key, the account, --model and --url"),
    )


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a `Retry-After` header, which may be a date; None without one."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    if value.replace(".", "", 1).isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return None
