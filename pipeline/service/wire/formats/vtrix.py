"""Vtrix, a reseller of qwen3-rerank: flat request, nested answer.

Shapes: doc.vtrix.ai, page `domestic/api/qwen/qwen3-rerank`.
"""

import orjson

from pipeline.core.records import Request
from pipeline.service.wire.codec import NESTED, WireFormat
from pipeline.service.wire.formats.dashscope import results_in_output
from pipeline.service.wire.formats.dashscope_compatible import flat_request


def _encode(request: Request, model: str, instruct: str | None) -> bytes:
    return orjson.dumps({**flat_request(request, model, instruct), "return_documents": False})


VTRIX = WireFormat("vtrix", _encode, results_in_output, NESTED)
