"""Vtrix, a reseller of qwen3-rerank: flat request, nested answer.

Shapes: doc.vtrix.ai, page `domestic/api/qwen/qwen3-rerank`.
"""

import orjson

from pipeline.core.records import Request
from pipeline.service.wire.codec import NESTED
from pipeline.service.wire.formats.dashscope import DASHSCOPE_REFUSALS
from pipeline.service.wire.wire_format import Capabilities, WireFormat

_TAKES = Capabilities(top_n="top_n", instruct="instruct", return_documents="return_documents")


def _encode(request: Request, model: str, instruct: str | None) -> bytes:
    """Return `{model, query, documents, top_n, return_documents, instruct?}`."""
    return orjson.dumps(
        {
            "model": model,
            "query": request.query,
            "documents": request.documents,
            **_TAKES.options(request.num_documents, instruct),
        }
    )


VTRIX = WireFormat(
    name="vtrix",
    takes=_TAKES,
    encode=_encode,
    answer=NESTED,
    refusals=DASHSCOPE_REFUSALS,
)
