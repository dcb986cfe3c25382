"""DashScope's native endpoint: nested request, nested answer; serves every model.

Shapes: Model Studio, page `text-rerank-api` (May 2026).
"""

from typing import Any

import orjson

from pipeline.core.records import Request
from pipeline.service.wire.codec import NESTED, WireFormat


def encode_nested(request: Request, model: str, instruct: str | None) -> bytes:
    """`{model, input: {query, documents}, parameters: {top_n, return_documents, instruct?}}`."""
    parameters: dict[str, Any] = {"top_n": request.num_documents, "return_documents": False}
    if instruct is not None:
        parameters["instruct"] = instruct
    return orjson.dumps(
        {
            "model": model,
            "input": {"query": request.query, "documents": request.documents},
            "parameters": parameters,
        }
    )


def results_in_output(answer: dict[str, Any]) -> Any:
    """`{output: {results: [...]}}`."""
    output = answer.get("output")
    return output.get("results") if isinstance(output, dict) else None


DASHSCOPE = WireFormat("dashscope", encode_nested, results_in_output, NESTED)
