"""Vtrix, a reseller of qwen3-rerank: flat request, nested answer.

Shapes: doc.vtrix.ai, page `domestic/api/qwen/qwen3-rerank`.
"""

from pipeline.service.wire.answer_shapes import NESTED
from pipeline.service.wire.formats.dashscope import DASHSCOPE_REFUSALS
from pipeline.service.wire.wire_format import Capabilities, WireFormat, flat_encoder

_TAKES = Capabilities(top_n="top_n", instruct="instruct", return_documents="return_documents")


VTRIX = WireFormat(
    name="vtrix",
    takes=_TAKES,
    encode=flat_encoder(_TAKES),
    answer=NESTED,
    refusals=DASHSCOPE_REFUSALS,
)
