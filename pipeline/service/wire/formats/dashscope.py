"""DashScope's native endpoint: nested request, nested answer; serves every model.

Shapes: Model Studio, page `text-rerank-api` (May 2026): query and documents are strings, or to
qwen3-vl-rerank objects with one of `text`, `image` (a URL or a data URL) and `video`. Error codes:
page `error-messages` (November 2026), native and OpenAI-style names.
"""

from typing import Any

import orjson

from pipeline.core.content import EVERY_KIND, Content, Video, kind_of, value_or_url
from pipeline.core.records import Request
from pipeline.service.wire.answer_shapes import NESTED
from pipeline.service.wire.refusals import RefusalCodes
from pipeline.service.wire.wire_format import Capabilities, WireFormat

_TAKES = Capabilities(
    top_n="top_n",
    instruct="instruct",
    return_documents="return_documents",
    fps="fps",
    accepts=EVERY_KIND,
)

DASHSCOPE_REFUSALS = RefusalCodes(
    throttled={
        "throttling": "requests",
        "throttling.ratequota": "requests",
        "limitrequests": "requests",
        "limit_requests": "requests",
        "throttling.burstrate": "growth",
        "limit_burst_rate": "growth",
        "throttling.allocationquota": "tokens",
        "insufficient_quota": "tokens",
    },
    refused=frozenset(
        {
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
            "notfound",
        }
    ),
    content=frozenset({"datainspectionfailed", "data_inspection_failed"}),
    invalid=frozenset(
        {
            "invalidparameter",
            "internalerror.algo.invalidparameter",
            "invalid_parameter_error",
        }
    ),
    transient=frozenset(
        {
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
    ),
    free_quota_text="free allocated quota exceeded",
    capacity_text="system capacity limits",
    one_document_text="document index",
    size_texts=("input length",),
    shape_texts=("required body invalid", "url error"),
)
"""The codes of Model Studio; those who resell its models pass them on."""


def _encode(request: Request, model: str, instruct: str | None, fps: float | None = None) -> bytes:
    """Return `{model, input: {query, documents}, parameters: {top_n, ...}}`."""
    given: dict[str, Any] = {"query": request.query, "documents": request.encodable_documents}
    parameters = _TAKES.options(request.num_documents, instruct)
    if request.image_tokens:
        given = {"query": _item(request.query), "documents": list(map(_item, request.documents))}
        if fps is not None and any(isinstance(one, Video) for one in request.documents):
            parameters["fps"] = fps
    return orjson.dumps({"model": model, "input": given, "parameters": parameters})


def _item(content: Content) -> dict[str, str]:
    return {kind_of(content): value_or_url(content)}


DASHSCOPE = WireFormat(
    name="dashscope",
    takes=_TAKES,
    encode=_encode,
    answer=NESTED,
    refusals=DASHSCOPE_REFUSALS,
)
