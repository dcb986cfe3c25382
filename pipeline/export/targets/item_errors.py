"""Why a search engine refused a document, without any of its text."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from pipeline.core.errors import shorten
from pipeline.core.records import Request
from pipeline.service.wire.redaction import Redactor

_IDS: Final = frozenset({"query_id", "doc_id"})
_PREVIEW: Final = "Preview of field's value"


class ItemError(Struct, frozen=True):
    """One item of a bulk answer that failed.

    Attributes:
        doc_id: Its `_id`.
        status: Its HTTP status.
        kind: The engine's name of the error.
        reason: Its message, which may repeat values of the document.
    """

    doc_id: str
    status: int
    kind: str = ""
    reason: str = ""

    def describe(self, document: Mapping[str, Any] | None) -> str:
        """Return status, kind and reason.

        The reason is withheld if it repeats the document, or if the document is not known.
        """
        if document is None:
            return f"{self.status} {self.kind}".strip()
        said = self.reason.partition(_PREVIEW)[0].strip()
        texts = list(_texts(document))
        request = Request("", texts, 0, key=b"", scope=b"", query_id="")
        safe = Redactor(None).message(said, request)
        return shorten(" ".join(f"{self.status} {self.kind}: {safe}".split()), 200)


def item_error(info: Mapping[str, Any]) -> ItemError:
    """Return what an item of a bulk answer says."""
    ((_, item),) = info.items()
    error = item.get("error") or {}
    if not isinstance(error, Mapping):
        error = {"reason": str(error)}
    cause = error.get("caused_by") or {}
    reason = str(error.get("reason") or "")
    if isinstance(cause, Mapping) and cause.get("reason"):
        reason += f" ({cause['reason']})"
    return ItemError(
        str(item.get("_id", "")), int(item.get("status", 0)), str(error.get("type") or ""), reason
    )


def _texts(value: Any, name: str = "") -> Iterator[str]:
    """Yield every string of a document but its ids."""
    match value:
        case str() if name not in _IDS:
            yield value
        case dict():
            for inner, content in value.items():
                yield from _texts(content, inner)
        case list():
            for content in value:
                yield from _texts(content, name)
