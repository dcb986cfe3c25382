"""DashScope's compatible endpoint: flat request, flat answer; serves qwen3-rerank alone.

Shapes: Model Studio, page `rerank` (June 2026), which lists no `return_documents` for this model.
"""

from typing import Any

import orjson

from pipeline.core.records import Request
from pipeline.service.wire.codec import FLAT, WireFormat


def flat_request(request: Request, model: str, instruct: str | None) -> dict[str, Any]:
    """`{model, query, documents, top_n, instruct?}`."""
    body: dict[str, Any] = {
        "model": model,
        "query": request.query,
        "documents": request.documents,
        "top_n": request.num_documents,
    }
    if instruct is not None:
        body["instruct"] = instruct
    return body


def _encode_flat(request: Request, model: str, instruct: str | None) -> bytes:
    return orjson.dumps(flat_request(request, model, instruct))


def _results_at_top(answer: dict[str, Any]) -> Any:
    """`{results: [...]}`."""
    return answer.get("results")


DASHSCOPE_COMPATIBLE = WireFormat("dashscope-compatible", _encode_flat, _results_at_top, FLAT)
