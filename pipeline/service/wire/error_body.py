"""Read the code and message of an answer without scores, in any known envelope."""

import re
from typing import Any, Final

import orjson
from msgspec import Struct

from pipeline.core.errors import shorten

_CODE: Final = re.compile(rb'"code"\s*:\s*"([^"\\]{1,80})"')
_MESSAGE: Final = re.compile(rb'"(?:message|msg)"\s*:\s*"((?:[^"\\]|\\.){1,400})')
_BOM: Final = b"\xef\xbb\xbf"


class ErrorBody(Struct, frozen=True):
    """An error body's facts; empty strings where it has none."""

    code: str = ""
    message: str = ""


def read_error(body: bytes) -> ErrorBody:
    """Return the facts of an error body, or of the JSON that its message holds."""
    outer = _envelope(body)
    if not outer.message.lstrip().startswith("{"):
        return outer
    inner = _envelope(outer.message.encode())
    return ErrorBody(outer.code or inner.code, inner.message or inner.code)


def _envelope(body: bytes) -> ErrorBody:
    """Read `{code, message}`, `{error: {code, type, message}}` or `{detail: [{type, msg}]}`.

    `error` and `detail` may also be the message.
    """
    try:
        answer = load_json(body)
    except orjson.JSONDecodeError:
        return _truncated_envelope(body)
    if not isinstance(answer, dict):
        return ErrorBody()
    error, detail = answer.get("error"), answer.get("detail")
    facts = error if isinstance(error, dict) else answer
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        facts = {"type": detail[0].get("type"), "message": detail[0].get("msg")}
    names = [facts.get("code"), facts.get("type"), facts.get("error_type")]
    named = [name for name in names if isinstance(name, str) and name]
    code = next((name for name in named if not name.isdecimal()), named[0] if named else "")
    messages = [facts.get("message"), error, detail]
    message = next((text for text in messages if isinstance(text, str)), "")
    return ErrorBody(shorten(code, 80), message)


def _truncated_envelope(body: bytes) -> ErrorBody:
    """Read the fields of truncated JSON; nothing from HTML."""
    if not body.lstrip().startswith(b"{"):
        return ErrorBody()
    code, message = (pattern.search(body) for pattern in (_CODE, _MESSAGE))
    return ErrorBody(
        code[1].decode(errors="replace") if code else "",
        message[1].decode(errors="replace") if message else "",
    )


def is_error(answer: Any, *, results_keys: tuple[str, ...] = ()) -> bool:
    """Return whether a JSON body is an error envelope, whatever its status.

    Args:
        answer: The body.
        results_keys: Keys of results beside the usual ones; a body with results is no error.
    """
    if not isinstance(answer, dict):
        return False
    if any(_has_results(answer.get(key)) for key in ("output", "results", *results_keys)):
        return False
    return bool(answer.get("error") or answer.get("code"))


def _has_results(value: Any) -> bool:
    return any(map(bool, value.values())) if isinstance(value, dict) else bool(value)


def load_json(body: bytes) -> Any:
    """Return the value of a JSON body, which a UTF-8 byte order mark may precede.

    Raises:
        orjson.JSONDecodeError: if it is none.
    """
    return orjson.loads(body.removeprefix(_BOM))
