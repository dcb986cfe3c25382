"""DashScope's compatible endpoint: flat request, flat answer; serves qwen3-rerank alone.

Shapes: Model Studio, page `rerank` (June 2026), which lists no `return_documents` for this model.
"""

import orjson

from pipeline.core.records import Request
from pipeline.service.wire.codec import FLAT
from pipeline.service.wire.formats.dashscope import DASHSCOPE_REFUSALS
from pipeline.service.wire.wire_format import Capabilities, WireFormat

_TAKES = Capabilities(top_n="top_n", instruct="instruct")


def _encode(request: Request, model: str, instruct: str | None) -> bytes:
    """Return `{model, query, documents, top_n, instruct?}`."""
    return orjson.dumps(
        {
            "model": model,
            "query": request.query,
            "documents": request.documents,
            **_TAKES.options(request.num_documents, instruct),
        }
    )


DASHSCOPE_COMPATIBLE = WireFormat(
    name="dashscope-compatible",
    takes=_TAKES,
    encode=_encode,
    answer=FLAT,
    refusals=DASHSCOPE_REFUSALS,
)
