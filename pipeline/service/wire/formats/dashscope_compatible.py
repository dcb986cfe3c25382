"""DashScope's compatible endpoint: flat request, flat answer; serves qwen3-rerank alone.

Shapes: Model Studio, page `rerank` (June 2026), which lists no `return_documents` for this model.
"""

from pipeline.service.wire.answer_shapes import FLAT
from pipeline.service.wire.formats.dashscope import DASHSCOPE_REFUSALS
from pipeline.service.wire.wire_format import Capabilities, WireFormat, flat_encoder

_TAKES = Capabilities(top_n="top_n", instruct="instruct")


DASHSCOPE_COMPATIBLE = WireFormat(
    name="dashscope-compatible",
    takes=_TAKES,
    encode=flat_encoder(_TAKES),
    answer=FLAT,
    refusals=DASHSCOPE_REFUSALS,
)
